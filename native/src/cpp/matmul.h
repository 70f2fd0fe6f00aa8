// Products of matrices: see matmul.cpp. Plain C, so that both sides of the instruction set can read it.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// A matrix [k, n] to be packed into tiles: k / per words, rounded up, of each of TILE columns. With AMX the left one becomes rows instead, as its products read them.
struct Matrix {
  const void *w;   // float32; for bfloat16 words either
  int is_bf16;
  int along;       // 1: element (k, n) is w[n · stride + k]; 0: w[k · stride + n]
  int activation;  // applied on the way (across only)
  int left;        // to be A of a product, [m, k] once it is turned (across only)
  int64_t k, n, stride;
};

// C[m, n] = A[m, k] · B[k, n].
struct Product {
  int64_t m, n, k;
  const uint32_t *a; // rows of k / per words (a whole number), `stride` words apart; or packed as a left Matrix [k, m]
  int64_t stride;
  int tiled;         // A is packed
  const uint32_t *b; // packed
};

enum OutKind {
  OUT_PLAIN = 0,    // sum + bias
  OUT_EXACT = 1,    // float32: sum + bias, added to what is there if `add`
  OUT_ACTIVATE = 2, // activation(sum + bias), the sum itself in `inner` if not null
  OUT_SLOPE = 3,    // sum · activation'(inner)
  // Of a sum that comes second to what is there, as a low-rank product does:
  OUT_PLUS = 4,          // (sum + bias) + inner; c may be inner
  OUT_PLUS_ACTIVATE = 5, // inner += sum, c = activation(inner)
  OUT_PLUS_SLOPE = 6,    // c = (sum + c) · activation'(inner)
};

struct Out {
  int kind, activation, add;
  void *c;
  int64_t stride; // of c and inner, in elements
  const float *bias;
  void *inner;
};

#ifdef __cplusplus
}
#endif

// Products with weights of eight bits whose rows are rounded to eight bits too: see eights.cpp.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { EIGHTS_BLOCK = 32, EIGHTS_TILE = 64 }; // places that share a scale, columns that stand together

// A matrix of k features and n columns in tiles of its columns: of each, block after block, 2 halves of [8 words of 4 places][32 columns] of q + 128, and scales.
struct EightsMatrix {
  const uint8_t *values;  // [tiles][2][k / 32][8][32][4]
  const uint16_t *scales; // [tiles][2][k / 32][32], float16
  int64_t k, n;           // features, columns
};

// The loops for a product.
enum { EIGHTS_PLAIN, EIGHTS_AVX2, EIGHTS_VNNI };

// Rounded rows, as the loop of that way reads them. AVX2: numbers of sixteen bits, in each word of four the first, third, second and fourth.
struct EightsRows {
  int8_t *q;     // [rows][k], with room for twice as many bytes
  float *scale;  // [rows][k / 32]
  int32_t *less; // [rows][k / 32]: -128 · Σ q of the block
  int way;
};

// The best way of this processor. But for plain C++, which is slow, products of bytes are as quick as float32's or quicker.
int rlhf_eights_best(void);

// Rounds a row of k numbers to row `at` of those that `to` holds.
void rlhf_eights_round(const float *x, int64_t k, const struct EightsRows *to, int64_t at);

// Sums of rows [first, first + m) with a tile: c [m][64].
void rlhf_eights_tile(const struct EightsMatrix *w, int64_t tile, const struct EightsRows *x, int64_t first, int64_t m, float *c);

// Rows [n, k] of ggml's q8_0 in this layout: `values` and `scales` have room for n rounded up to whole tiles, and are zero.
void rlhf_eights_pack(const uint8_t *blocks, int64_t n, int64_t k, uint8_t *values, uint16_t *scales);

// y [m, n] = x [m, k] · W + bias, of which a null is 0.
void rlhf_eights_product(const struct EightsMatrix *w, const float *x, int64_t m, const float *bias, float *y, int way, int threads);

#ifdef __cplusplus
}
#endif

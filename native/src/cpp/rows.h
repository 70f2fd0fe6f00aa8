// The kernels on rows of activations, for each type of these, bfloat16 and float32: of bfloat16 with AMX's tiles and without, of float32 for registers of two sizes.
#pragma once

#include "attention.h"
#include "decode.h"
#include "matmul.h"

#ifdef __cplusplus
extern "C" {
#endif

struct Kernels {
  int64_t per, tile; // numbers of a word, columns of a tile
  const char *name;  // of the instructions
  int64_t (*room)(const struct Matrix *matrix); // words of a packed one
  // `sums`, if not null: the columns' sums over k (n of them; not for `along`).
  void (*pack)(const struct Matrix *matrix, uint32_t *out, float *sums, int threads);
  void (*product)(const struct Product *product, const struct Out *out, int threads);
  // These return 0, or 1 where memory ran out.
  int (*attention)(const struct Attention *a, int threads);
  int (*attention_backward)(const struct Attention *a, int threads);
  int (*decode)(const struct Decode *d, int threads);
};

// All null where they were built for another kind of processor.
extern const struct Kernels rlhf_bf16_avx512_kernels, rlhf_bf16_amx_kernels, rlhf_f32_avx2_kernels, rlhf_f32_avx512_kernels;
// Those that this processor can run, if it can run any of the type.
const struct Kernels *rlhf_bf16_kernels(void), *rlhf_f32_kernels(void);
// Has it AMX's tiles for bfloat16, and may this process use them?
int rlhf_has_tiles(void);

#ifdef __cplusplus
}
#endif

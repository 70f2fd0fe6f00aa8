// Matrix products with sums in float32, of bfloat16 or float32 (vectors.h).

#include "vectors.h"

#ifdef RLHF_KERNELS

#include "products.h"

namespace {

template <class Put, int A> void product(const Product &p, const Out &o, int threads) {
  int64_t taken = 0;
#pragma omp parallel num_threads(threads)
  {
    const Tiles tiles;
    share<Put, A>(p, o, taken, threads);
  }
}

template <class Put> void by_activation(int activation, const Product &p, const Out &o, int threads) {
  switch (activation) {
  case GELU_TANH: return product<Put, GELU_TANH>(p, o, threads);
  case GELU: return product<Put, GELU>(p, o, threads);
  case RELU: return product<Put, RELU>(p, o, threads);
  case SILU: return product<Put, SILU>(p, o, threads);
  default: return product<Put, NONE>(p, o, threads);
  }
}

constexpr int64_t STRIP = ABREAST > 1 ? 64 : INT64_MAX; // rows of the tiles that are packed together

// Tiles [from, to), where K runs across the rows.
template <class T, int A> void pack_tiles(const T *w, const Matrix &s, uint32_t *out, float *sums, int64_t from, int64_t to) {
  const int64_t words = (s.k + PER - 1) / PER * TILE;
  if (sums)
    for (int64_t i = from * TILE; i < least(to * TILE, s.n); ++i) sums[i] = 0.0f;
  for (int64_t k = 0; k < s.k; k += STRIP)
    for (int64_t t = from; t < to; ++t)
      pack_across<T, A>(w + k * s.stride + t * TILE, s.stride, least(STRIP, s.k - k), least(TILE, s.n - t * TILE), out + t * words + k / PER * TILE,
                        sums ? sums + t * TILE : nullptr);
}

#ifdef RLHF_AMX
// Sixty-four columns from `from` on as rows.
template <class T, int A> void pack_left(const T *w, const Matrix &s, uint32_t *out, float *sums, int64_t from) {
  alignas(64) uint32_t block[STEP * TILE];
  const int64_t n = least(TILE, s.n - from), row = left_row(s.k);
  if (sums)
    for (int64_t i = 0; i < n; ++i) sums[from + i] = 0.0f;
  for (int64_t k = 0; k < s.k; k += STEP * PER) {
    const int64_t some = least(STEP * PER, s.k - k);
    pack_across<T, A>(w + k * s.stride + from, s.stride, some, n, block, sums ? sums + from : nullptr);
    for (int64_t q = 0; q < n; q += 16) transpose_words(block + q, TILE, (some + 1) / PER, out + (from + q) * row + k / PER, row);
  }
}
#endif

// Tiles [from, to) of a matrix.
template <class T, int A> INLINE void pack_some(const T *w, const Matrix &s, uint32_t *out, float *sums, int64_t from, int64_t to) {
#ifdef RLHF_AMX
  if (s.left) {
    for (int64_t t = from; t < to; ++t) pack_left<T, A>(w, s, out, sums, t * TILE);
    return;
  }
#endif
  pack_tiles<T, A>(w, s, out, sums, from, to);
}

template <class T> void pack(const T *w, const Matrix &s, uint32_t *out, float *sums, int threads) {
  const int64_t tiles = (s.n + TILE - 1) / TILE, words = (s.k + PER - 1) / PER * TILE;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t t = 0; t < tiles; t += ABREAST) {
    const int64_t to = least(t + ABREAST, tiles);
    if (s.along)
      for (int64_t i = t; i < to; ++i) pack_along(w + i * TILE * s.stride, s.stride, s.k, least(TILE, s.n - i * TILE), out + i * words);
    else if (s.activation == GELU_TANH) pack_some<T, GELU_TANH>(w, s, out, sums, t, to);
    else if (s.activation == GELU) pack_some<T, GELU>(w, s, out, sums, t, to);
    else if (s.activation == RELU) pack_some<T, RELU>(w, s, out, sums, t, to);
    else if (s.activation == SILU) pack_some<T, SILU>(w, s, out, sums, t, to);
    else pack_some<T, NONE>(w, s, out, sums, t, to);
  }
}

} // namespace

extern "C" {

int64_t NAMED(room)(const Matrix *s) {
#ifdef RLHF_AMX
  if (s->left) return (s->n + 15) / 16 * 16 * left_row(s->k);
#endif
  return (s->n + TILE - 1) / TILE * TILE * ((s->k + PER - 1) / PER);
}

void NAMED(pack)(const Matrix *s, uint32_t *out, float *sums, int threads) {
#ifndef RLHF_F32
  if (s->is_bf16) return pack((const bf16 *)s->w, *s, out, sums, threads);
#endif
  pack((const float *)s->w, *s, out, sums, threads);
}

void NAMED(product)(const Product *p, const Out *o, int threads) {
  switch (o->kind) {
  case OUT_EXACT: return product<Exact, NONE>(*p, *o, threads);
  case OUT_ACTIVATE: return by_activation<Activate>(o->activation, *p, *o, threads);
  case OUT_SLOPE: return by_activation<Slope>(o->activation, *p, *o, threads);
  case OUT_PLUS: return product<Plus, NONE>(*p, *o, threads);
  case OUT_PLUS_ACTIVATE: return by_activation<PlusActivate>(o->activation, *p, *o, threads);
  case OUT_PLUS_SLOPE: return by_activation<PlusSlope>(o->activation, *p, *o, threads);
  default: return product<Plain, NONE>(*p, *o, threads);
  }
}

} // extern "C"

#endif

// Matrices of float32 to tiles of the same: see tiles.h.
#pragma once

#include "vectors.h"

namespace {

// Transposes 8 × 8.
INLINE void transpose(__m256 (&r)[8]) {
  __m256 t[8], u[8];
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    u[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    u[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    u[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    u[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}

// One tile where the dimension summed over runs along the rows of memory: element (k, n) is w[n · stride + k], `n` columns exist, at most TILE.
template <class T> INLINE void pack_along(const T *w, int64_t stride, int64_t k, int64_t n, uint32_t *out) {
  float *to = (float *)out;
  for (int64_t q = 0; q < TILE; q += 8)
    for (int64_t at = 0; at < k; at += 8) {
      __m256 r[8];
      for (int i = 0; i < 8; ++i) r[i] = q + i < n ? eight(w + (q + i) * stride + at, k - at) : _mm256_setzero_ps();
      transpose(r);
      for (int64_t i = 0; i < least(k - at, 8); ++i) _mm256_storeu_ps(to + (at + i) * TILE + q, r[i]);
    }
}

// One tile where it runs across them: element (k, n) is w[k · stride + n], after an activation. `sums`: those of the columns are added, if not null.
template <class T, int A> INLINE void pack_across(const T *w, int64_t stride, int64_t k, int64_t n, uint32_t *out, float *sums) {
  constexpr int V = TILE / 16;
  Floats sum[V];
  for (int v = 0; v < V; ++v) sum[v] = zero();
  for (int64_t at = 0; at < k; ++at)
    for (int v = 0; v < V; ++v) {
      __builtin_prefetch(w + (at + 16) * stride + 16 * v);
      const Floats x = activate<A>(load(w + at * stride + 16 * v, first(n - 16 * v)));
      store((float *)out + at * TILE + 16 * v, x);
      sum[v] = add(sum[v], x);
    }
  if (sums)
    for (int v = 0; v < V; ++v) store(sums + 16 * v, add(sum[v], load(sums + 16 * v, first(n - 16 * v))), first(n - 16 * v));
}

} // namespace

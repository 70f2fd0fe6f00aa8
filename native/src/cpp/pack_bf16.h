// Matrices of float32 or bfloat16 to tiles of words of two bfloat16: see tiles.h.
#pragma once

#include "vectors.h"

namespace {

// Transposes 16 × 16 words.
INLINE void transpose(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Thirty-two neighbours of a row, as bfloat16; `left` of them exist, the others are 0.
INLINE __m512i row_of(const float *p, int64_t left) {
  return (__m512i)_mm512_cvtne2ps_pbh(load(p + 16, first(left - 16)), load(p, first(left)));
}
INLINE __m512i row_of(const bf16 *p, int64_t left) {
  return left >= 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16(left <= 0 ? 0 : (1u << left) - 1, p);
}

// Pairs (x[i], y[i]) of two rows' first and last sixteen.
struct Pairs {
  __m512i low, high;
};
INLINE Pairs interleave(__m512i x, __m512i y) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1,
                                       32, 0);
  const __m512i high = _mm512_or_si512(low, _mm512_set1_epi16(16));
  return Pairs{_mm512_permutex2var_epi16(x, low, y), _mm512_permutex2var_epi16(x, high, y)};
}

// One tile where the dimension summed over runs along the rows of memory: element (k, n) is w[n · stride + k], `n` columns exist, at most 64.
template <class T> INLINE void pack_along(const T *w, int64_t stride, int64_t k, int64_t n, uint32_t *out) {
  for (int64_t q = 0; q < TILE; q += 16)
    for (int64_t at = 0; at < k; at += 32) {
      __m512i r[16];
      for (int i = 0; i < 16; ++i) r[i] = q + i < n ? row_of(w + (q + i) * stride + at, k - at) : _mm512_setzero_si512();
      transpose(r);
      const int64_t words = least((k - at + 1) / 2, 16);
      for (int64_t i = 0; i < words; ++i) _mm512_storeu_si512(out + (at / 2 + i) * TILE + q, r[i]);
    }
}

// One tile where it runs across them: element (k, n) is w[k · stride + n], after an activation. `sums`: those of the columns are added, if not null.
template <class T, int A> INLINE void pack_across(const T *w, int64_t stride, int64_t k, int64_t n, uint32_t *out, float *sums) {
  const auto through = [](__m512i x) {
    if (A == NONE) return x;
    const Floats low = activate<A>(widen(_mm512_castsi512_si256(x))), high = activate<A>(widen(_mm512_extracti64x4_epi64(x, 1)));
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
  };
  const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  for (int64_t q = 0; q < TILE; q += 32) {
    const int64_t left = n - q;
    Floats sum0 = _mm512_setzero_ps(), sum1 = _mm512_setzero_ps();
    for (int64_t at = 0; at < k; at += 2) {
      const T *p = w + at * stride + q;
      __builtin_prefetch(p + 16 * stride), __builtin_prefetch(p + (17) * stride);
      const __m512i x = row_of(p, left), y = at + 1 < k ? row_of(p + stride, left) : _mm512_setzero_si512();
      const Pairs both = interleave(through(x), through(y));
      _mm512_storeu_si512(out + at / 2 * TILE + q, both.low);
      _mm512_storeu_si512(out + at / 2 * TILE + q + 16, both.high);
      sum0 = _mm512_dpbf16_ps(sum0, (__m512bh)both.low, ones);
      sum1 = _mm512_dpbf16_ps(sum1, (__m512bh)both.high, ones);
    }
    if (sums) {
      store(sums + q, add(sum0, load(sums + q, first(left))), first(left));
      store(sums + q + 16, add(sum1, load(sums + q + 16, first(left - 16))), first(left - 16));
    }
  }
}

} // namespace

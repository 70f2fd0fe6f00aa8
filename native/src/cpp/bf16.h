// Words of two bfloat16 for AVX512-BF16: see vectors.h.
#pragma once

#include "avx512.h"

typedef uint16_t bf16; // the upper half of a float32

namespace {

typedef bf16 Number; // an activation
typedef __m512bh Words;

constexpr int64_t PER = 2;             // numbers of a word
constexpr int64_t TILE = 64;           // columns of a tile
constexpr bool EXPECT = true;          // what sums are written over comes to the cache before them
constexpr int64_t ABREAST = 4;         // tiles that are packed together, so that more than a line of each row is read at a time
// Rows of sums that are worked on together (in registers, but for AMX); words of K that are worked off at a time where sums stand in memory; words of A that stay in the
// second-level cache while B passes.
#ifdef RLHF_AMX
constexpr int64_t ROWS = 16, DEPTH = 1024, CACHED = 128 * 1024;
#else
constexpr int64_t ROWS = 6, DEPTH = 512, CACHED = 96 * 1024;
#endif
constexpr int registers(int) { return 4; } // vectors of sums a row where so many rows are worked on

INLINE Floats widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
INLINE Floats load(const bf16 *p) { return widen(_mm256_loadu_si256((const __m256i *)p)); }
INLINE Floats load(const bf16 *p, Mask m) { return widen(_mm256_maskz_loadu_epi16(m, p)); }
// Rounds to nearest, ties to even.
INLINE __m256i narrow(Floats x) { return (__m256i)_mm512_cvtneps_pbh(x); }
INLINE void store(bf16 *p, Floats x) { _mm256_storeu_si256((__m256i *)p, narrow(x)); }
INLINE void store(bf16 *p, Floats x, Mask m) { _mm256_mask_storeu_epi16(p, m, narrow(x)); }
INLINE Floats rounded(Floats x) { return widen(narrow(x)); }

INLINE void copy(bf16 *to, const bf16 *from, int64_t n) {
  for (int64_t i = 0; i < n; i += 32) {
    const __mmask32 m = n - i >= 32 ? 0xffffffff : (1u << (n - i)) - 1;
    _mm512_mask_storeu_epi16(to + i, m, _mm512_maskz_loadu_epi16(m, from + i));
  }
}

INLINE Words words_at(const uint32_t *p) { return (Words)_mm512_loadu_si512(p); }
INLINE Words word_at(const uint32_t *p) { return (Words)_mm512_set1_epi32(int(*p)); } // sixteen times the same
INLINE Floats dot(Floats sum, Words x, Words y) { return _mm512_dpbf16_ps(sum, x, y); }

INLINE __m512i halves(Floats x) { return _mm512_cvtepu16_epi32(narrow(x)); }
// Sixteen words of neighbouring rows.
INLINE void store_words(uint32_t *to, const Floats (&rows)[PER]) {
  _mm512_storeu_si512(to, _mm512_or_si512(halves(rows[0]), _mm512_slli_epi32(halves(rows[1]), 16)));
}

// The row of place `place` joins words of neighbouring places. Its later neighbour is finite until it comes.
INLINE void put_row(uint32_t *words, const bf16 *row, int64_t place, Mask m) {
  const __m512i x = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, row));
  const __m512i before = _mm512_and_si512(_mm512_maskz_loadu_epi32(m, words), _mm512_set1_epi32(0xffff));
  _mm512_mask_storeu_epi32(words, m, place % 2 ? _mm512_or_si512(before, _mm512_slli_epi32(x, 16)) : x);
}

} // namespace

// Words of one float32, for AVX-512 and for AVX2: see vectors.h.
#pragma once

#if RLHF_F32 == 512
#include "avx512.h"
#else
#include "avx2.h"
#endif

namespace {

typedef float Number; // an activation
typedef Floats Words;

constexpr int64_t PER = 1; // numbers of a word
constexpr int64_t ROWS = 6; // of sums in registers
// Columns of a tile; words of K that are worked off at a time where sums stand in memory; words of A that stay in the second-level cache while B passes; tiles that are
// packed together, so that more than a line of each row is read at a time; whether what sums are written over comes to the cache before them (brings a twelfth with
// AVX-512; not tried elsewhere).
#if RLHF_F32 == 512
constexpr int64_t TILE = 64, DEPTH = 256, CACHED = 96 * 1024, ABREAST = 2;
constexpr bool EXPECT = true;
constexpr int registers(int) { return 4; } // vectors of sums a row where so many rows are worked on
INLINE __m256 eight(const float *p, int64_t n) { return _mm256_maskz_loadu_ps(__mmask8(first(n)), p); } // of which n exist
#else
constexpr int64_t TILE = 16, DEPTH = 256, CACHED = 48 * 1024, ABREAST = 8;
constexpr bool EXPECT = false;
constexpr int registers(int rows) { return rows == 1 ? 4 : rows == 2 ? 2 : 1; }
INLINE __m256 eight(const float *p, int64_t n) { return _mm256_maskload_ps(p, lanes(first(n))); }
#endif

INLINE Floats rounded(Floats x) { return x; }

INLINE void copy(float *to, const float *from, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) store(to + i, load(from + i, first(n - i)), first(n - i));
}

INLINE Words words_at(const uint32_t *p) { return load((const float *)p); }
INLINE Words word_at(const uint32_t *p) { return all(*(const float *)p); } // sixteen times the same
INLINE Floats dot(Floats sum, Words x, Words y) { return fmadd(x, y, sum); }

// Sixteen words of a row.
INLINE void store_words(uint32_t *to, const Floats (&rows)[PER]) { store((float *)to, rows[0]); }

// The row of a place, which is its words'.
INLINE void put_row(uint32_t *words, const float *row, int64_t, Mask m) { store((float *)words, load(row, m), m); }

} // namespace

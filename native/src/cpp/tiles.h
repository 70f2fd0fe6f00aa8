// The kernel at the heart of products and of attention: rows of words times a tile of packed columns, summed in registers.
//
// The numbers of a word are neighbours along the dimension summed over (vectors.h). A tile holds 64 columns, or 16 in AVX2:
// [word][TILE]. Six rows by a tile of sums stand in registers while the tile streams by: 24 multiplications for 10 loads, or 12 for 8.
#pragma once

#include "vectors.h"

#ifdef RLHF_F32
#include "pack_f32.h"
#else
#include "pack_bf16.h"
#endif

namespace {

constexpr int VECTORS = TILE / 16; // of a tile's row
constexpr int64_t PIECE = 8;        // words that are multiplied between two looks ahead

// Word (row i, word k) of the left side is at[i * row + k * word].
struct Left {
  const uint32_t *at;
  int64_t row, word;
};

template <int R, int V> INLINE void clear(Floats (&c)[R][V]) {
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) c[r][v] = zero();
}

#ifdef RLHF_AMX

} // namespace

#include "amx.h"

namespace {

constexpr int64_t STEP = 16; // words of a tile of AMX

// Words from one row of a left matrix of k numbers to the next: not a power of two, or all rows' beginnings would share a few lines of the cache.
INLINE int64_t left_row(int64_t k) { return ((k + 1) / PER + STEP - 1) / STEP * STEP + STEP; }

// Words of sixteen rows [row i][word k] from words that stand at [k][i].
INLINE void transpose_words(const uint32_t *from, int64_t word, int64_t words, uint32_t *to, int64_t row) {
  __m512i r[16];
  for (int k = 0; k < 16; ++k) r[k] = k < words ? _mm512_loadu_si512(from + k * word) : _mm512_setzero_si512();
  transpose(r);
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + i * row, r[i]);
}

// Adds R rows times the first 16·V columns of a tile.
template <int R, int V> INLINE void multiply(int64_t words, Left a, const uint32_t *b, Floats (&c)[R][V]) {
  static_assert(R == 16);
  const auto nothing = [] {};
  float *sums = (float *)c;
  if (a.word == 1) {
    const int64_t steps = words / STEP, rest = words % STEP;
    if (steps) add_low<V>(R, STEP, steps, a.at, a.row, b, sums, 16 * V, nothing);
    if (rest) add_low<V>(R, int(rest), 1, a.at + steps * STEP, a.row, b + steps * STEP * TILE, sums, 16 * V, nothing);
    return;
  }
  alignas(64) uint32_t rows[16 * STEP];
  for (int64_t k = 0; k < words; k += STEP) {
    const int64_t some = least(STEP, words - k);
    transpose_words(a.at + k * a.word, a.word, some, rows, STEP);
    add_low<V>(R, int(some), 1, rows, STEP, b + k * TILE, sums, 16 * V, nothing);
  }
}

#else

struct Tiles { // nothing is to be set up for vectors
  ~Tiles() {}
};

// Adds R rows times the first 16·V columns of a tile.
template <int R, int V> INLINE void multiply(int64_t words, Left a, const uint32_t *b, Floats (&c)[R][V]) {
  for (int64_t k = 0; k < words; ++k) {
    Words y[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) y[v] = words_at(b + 16 * v);
    b += TILE;
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const Words x = word_at(a.at + r * a.row);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) c[r][v] = dot(c[r][v], x, y[v]);
    }
    a.at += a.word;
  }
}

#endif

} // namespace

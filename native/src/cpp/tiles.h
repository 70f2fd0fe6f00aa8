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

} // namespace

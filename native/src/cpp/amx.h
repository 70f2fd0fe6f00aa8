// The tiles of AMX: eight registers of up to sixteen rows of sixteen words, and their products.
//
// TDPBF16PS adds to sixteen rows of sixteen sums the products of sixteen rows of sixteen words with sixteen words of sixteen columns. For each sum the first numbers of the
// words are summed apart from the second ones, and both are added to what was there.
#pragma once

#include "bf16.h"

namespace {

struct alignas(64) TileShapes {
  uint8_t palette, start, reserved[14];
  uint16_t bytes[16]; // of a row
  uint8_t rows[16];
};

#ifndef RLHF_EMULATED
INLINE void tile_shape(const TileShapes &s) { __asm__ volatile("ldtilecfg %0" ::"m"(s)); } // GCC 12's intrinsic does not say that it reads the whole
INLINE void tile_release() { __asm__ volatile("tilerelease"); }
// `row`: words from one row to the next.
template <int T> INLINE void tile_load(const void *at, int64_t row) { __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(at), "r"(4 * row), "i"(T) : "memory"); }
template <int T> INLINE void tile_store(void *at, int64_t row) { __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(at), "r"(4 * row), "i"(T) : "memory"); }
template <int C, int A, int B> INLINE void tile_dot() { __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B)); }
#else
struct Emulated {
  uint32_t words[16][16];
  int rows, columns; // of words
};
thread_local Emulated tile[8];
INLINE void tile_shape(const TileShapes &s) {
  for (int t = 0; t < 8; ++t) tile[t] = Emulated{{}, s.rows[t], s.bytes[t] / 4};
}
INLINE void tile_release() {}
template <int T> INLINE void tile_load(const void *at, int64_t row) {
  for (int r = 0; r < tile[T].rows; ++r) memcpy(tile[T].words[r], (const uint32_t *)at + r * row, 4 * tile[T].columns);
}
template <int T> INLINE void tile_store(void *at, int64_t row) {
  for (int r = 0; r < tile[T].rows; ++r) memcpy((uint32_t *)at + r * row, tile[T].words[r], 4 * tile[T].columns);
}
template <int C, int A, int B> INLINE void tile_dot() {
  for (int m = 0; m < tile[C].rows; ++m)
    for (int n = 0; n < tile[C].columns; ++n) {
      float first = 0.0f, second = 0.0f, sum;
      for (int k = 0; k < tile[A].columns; ++k) {
        const uint32_t x = tile[A].words[m][k], y = tile[B].words[k][n];
        first = __builtin_fmaf(emu_float(x), emu_float(y), first);
        second = __builtin_fmaf(emu_float(x >> 16), emu_float(y >> 16), second);
      }
      memcpy(&sum, &tile[C].words[m][n], 4);
      sum += first + second;
      memcpy(&tile[C].words[m][n], &sum, 4);
    }
}
#endif

// What this thread's tiles are set up for, or 0 (shape_tiles).
thread_local uint32_t tile_shapes = 0;

// While one lives, this thread works with tiles. Others use them too (libtorch), so nothing is known at first; and a thread without tiles is switched more cheaply.
struct Tiles {
  Tiles() { tile_shapes = 0; }
  ~Tiles() {
    if (tile_shapes) tile_release();
    tile_shapes = 0;
  }
  Tiles(const Tiles &) = delete;
  Tiles &operator=(const Tiles &) = delete;
};

// Tiles 0 to 3 hold sums: of `upper` rows; or, if there are `lower` ones, 0 and 1 of `upper` rows and 2 and 3 of `lower`. 4 and 5 hold `words` of those rows, 6 and 7 as
// many words of sixteen columns. Everything in them is lost where their shape changes.
INLINE void shape_tiles(int upper, int lower, int words) {
  const uint32_t wanted = uint32_t(upper | lower << 8 | words << 16);
  if (tile_shapes == wanted) return;
  tile_shapes = wanted;
  TileShapes s = {};
  s.palette = 1;
  for (int i = 0; i < 8; ++i) {
    s.bytes[i] = uint16_t(i == 4 || i == 5 ? 4 * words : 64);
    s.rows[i] = uint8_t(i >= 6 ? words : lower && (i == 2 || i == 3 || i == 5) ? lower : upper);
  }
  tile_shape(s);
}

// Adds to `height` rows of 16·V sums, at most sixteen, `steps` times `words` of rows a by as many of a tile of B. `stride`: of the sums. `meanwhile()` is called with every step.
template <int V, class Meanwhile>
INLINE void add_low(int height, int words, int64_t steps, const uint32_t *a, int64_t row, const uint32_t *b, float *c, int64_t stride, Meanwhile meanwhile) {
  shape_tiles(height, 0, words);
  tile_load<0>(c, stride);
  if (V > 1) tile_load<1>(c + 16, stride);
  if (V > 2) tile_load<2>(c + 32, stride), tile_load<3>(c + 48, stride);
  for (int64_t s = 0; s < steps; ++s) {
    tile_load<4>(a, row);
    tile_load<6>(b, TILE), tile_dot<0, 4, 6>();
    if (V > 1) tile_load<7>(b + 16, TILE), tile_dot<1, 4, 7>();
    if (V > 2) tile_load<6>(b + 32, TILE), tile_dot<2, 4, 6>();
    if (V > 2) tile_load<7>(b + 48, TILE), tile_dot<3, 4, 7>();
    a += 16, b += 16 * TILE;
    meanwhile();
  }
  tile_store<0>(c, stride);
  if (V > 1) tile_store<1>(c + 16, stride);
  if (V > 2) tile_store<2>(c + 32, stride), tile_store<3>(c + 48, stride);
}

// The same of sixteen rows and `lower` more, by 32 columns.
template <class Meanwhile>
INLINE void add_high(int lower, int words, int64_t steps, const uint32_t *a, int64_t row, const uint32_t *b, float *c, int64_t stride, Meanwhile meanwhile) {
  shape_tiles(16, lower, words);
  float *below = c + 16 * stride;
  tile_load<0>(c, stride), tile_load<1>(c + 16, stride), tile_load<2>(below, stride), tile_load<3>(below + 16, stride);
  for (int64_t s = 0; s < steps; ++s) {
    tile_load<4>(a, row), tile_load<6>(b, TILE), tile_load<7>(b + 16, TILE), tile_load<5>(a + 16 * row, row);
    tile_dot<0, 4, 6>(), tile_dot<1, 4, 7>(), tile_dot<2, 5, 6>(), tile_dot<3, 5, 7>();
    a += 16, b += 16 * TILE;
    meanwhile();
  }
  tile_store<0>(c, stride), tile_store<1>(c + 16, stride), tile_store<2>(below, stride), tile_store<3>(below + 16, stride);
}

} // namespace

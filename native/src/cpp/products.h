// Products of rows with packed matrices, and what becomes of the sums: the parts of matmul.cpp and decode.cpp.
//
// C[M, N] = A[M, K] · B[K, N]. B is packed into tiles (tiles.h), the rest of the last one 0. A is rows as they lie in memory, or packed into the same
// tiles (those of its transpose) where K runs across its rows.
//
// Every number of C is summed in one order, whatever M, N and the number of threads are.
#pragma once

#include "matmul.h"
#include "tiles.h"

namespace {

// What becomes of sums. `i`, `j`: row and first column of the sixteen.
struct Plain { // c = sum + bias
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    if (o.bias) x = add(x, load(o.bias + j, m));
    store((Number *)o.c + i * o.stride + j, x, m);
  }
};
struct Exact { // float32: c += sum, or c = sum
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    float *c = (float *)o.c + i * o.stride + j;
    if (o.bias) x = add(x, load(o.bias + j, m));
    store(c, o.add ? add(x, load(c, m)) : x, m);
  }
};
struct Activate { // inner = sum + bias, c = activation(inner)
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    if (o.bias) x = add(x, load(o.bias + j, m));
    if (o.inner) store((Number *)o.inner + i * o.stride + j, x, m);
    store((Number *)o.c + i * o.stride + j, activate<A>(rounded(x)), m);
  }
};
struct Plus { // c = (sum + bias) + inner
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    if (o.bias) x = add(x, load(o.bias + j, m));
    x = add(rounded(x), load((const Number *)o.inner + i * o.stride + j, m));
    store((Number *)o.c + i * o.stride + j, x, m);
  }
};
struct Times { // c = (sum + bias) · inner
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    if (o.bias) x = add(x, load(o.bias + j, m));
    x = mul(rounded(x), load((const Number *)o.inner + i * o.stride + j, m));
    store((Number *)o.c + i * o.stride + j, x, m);
  }
};
struct Slope { // c = sum · activation'(inner)
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    x = mul(x, slope<A>(load((const Number *)o.inner + i * o.stride + j, m)));
    store((Number *)o.c + i * o.stride + j, x, m);
  }
};
struct PlusActivate { // inner += sum, c = activation(inner)
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    Number *inner = (Number *)o.inner + i * o.stride + j;
    x = rounded(add(rounded(x), load(inner, m)));
    store(inner, x, m);
    store((Number *)o.c + i * o.stride + j, activate<A>(x), m);
  }
};
struct PlusSlope { // c = (sum + c) · activation'(inner)
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, Mask m, Floats x) {
    Number *c = (Number *)o.c + i * o.stride + j;
    x = add(rounded(x), load(c, m));
    x = mul(x, slope<A>(load((const Number *)o.inner + i * o.stride + j, m)));
    store(c, x, m);
  }
};

template <class Put> constexpr int64_t SIZE = sizeof(Number); // bytes of a number that is put
template <> constexpr int64_t SIZE<Exact> = sizeof(float);

// Comes to the cache while a block is worked on: where a row's sums go, and what they meet there.
template <class Put> INLINE void expect(const Out &o, int64_t i, int64_t j) {
  const int64_t at = i * o.stride + j;
  for (int64_t b = 0; b < TILE * SIZE<Put>; b += 64) __builtin_prefetch((const char *)o.c + at * SIZE<Put> + b, 1);
  if (!o.inner) return;
  for (int64_t b = 0; b < TILE * int64_t(sizeof(Number)); b += 64) __builtin_prefetch((const char *)o.inner + at * int64_t(sizeof(Number)) + b);
}

constexpr int64_t MUCH = 1 << 18; // multiplications that are worth the taking of a piece: some microseconds

// The tile that comes next, from `at` to `end`: `lines` of sixteen words of it come to the cache for every PIECE of words that a block multiplies, so that all blocks of a
// tile together have read the next.
struct Ahead {
  const uint32_t *at, *end;
  int64_t lines;
};

// Rows of sums, `stride` apart, to where they go.
template <class Put, int A> INLINE void give(const float *c, int64_t stride, int64_t height, const Out &o, int64_t i, int64_t j, int64_t n) {
  for (int64_t r = 0; r < height; ++r)
    for (int q = 0; q < VECTORS; ++q)
      if (j + 16 * q < n) Put::template put<A>(o, i + r, j + 16 * q, first(n - j - 16 * q), load(c + r * stride + 16 * q));
}

#ifdef RLHF_AMX

constexpr int64_t GROUP = 32; // rows of a block

// Rows i to end by one tile of B. The left side is rows.
template <class Put, int A> INLINE void rows(int64_t words, Left a, const uint32_t *b, Ahead &next, const Out &o, int64_t i, int64_t end, int64_t j, int64_t n) {
  alignas(64) float c[GROUP * TILE];
  const int64_t steps = words / STEP, rest = words % STEP, lines = next.at < next.end ? next.lines : 0;
  const auto look_ahead = [&](int64_t lines) {
    for (int64_t l = 0; l < lines; ++l) __builtin_prefetch(next.at + 16 * l, 0, 2);
    next.at += 16 * lines;
  };
  for (int64_t height; i < end; i += height, a.at += height * a.row) {
    height = least(GROUP, end - i);
    int64_t expected = 0;
    const auto meanwhile = [&](int times) {
      look_ahead(times * lines);
      for (const int64_t to = expected + times; expected < least(to, height); ++expected) expect<Put>(o, i + expected, j);
    };
    for (int64_t z = 0; z < height * TILE; z += 16) store(c + z, zero());
    const auto add = [&](int some, int64_t steps, int64_t k) {
      if (height <= 16) return add_low<4>(int(height), some, steps, a.at + k, a.row, b + k * TILE, c, TILE, [&] { meanwhile(2); });
      for (int64_t q = 0; q < TILE; q += 32)
        add_high(int(height - 16), some, steps, a.at + k, a.row, b + k * TILE + q, c + q, TILE, [&] { meanwhile(1); });
    };
    if (steps) add(STEP, steps, 0);
    if (rest) add(int(rest), 1, steps * STEP);
    give<Put, A>(c, TILE, height, o, i, j, n);
  }
}

#else

constexpr int64_t GROUP = ROWS;

template <class Put, int A, int R> INLINE void block(int64_t words, Left a, const uint32_t *b, Ahead &next, const Out &o, int64_t i, int64_t j, int64_t n) {
  Floats c[R][VECTORS];
  clear(c);
  const int64_t lines = next.at < next.end ? next.lines : 0;
  for (int64_t k = 0; k < words; k += PIECE) { // a core awaits no more than some sixteen lines at once
    if (EXPECT && k < R * PIECE) expect<Put>(o, i + k / PIECE, j);
    for (int64_t l = 0; l < lines; ++l) __builtin_prefetch(next.at + 16 * l, 0, 2);
    next.at += 16 * lines;
    multiply(least(PIECE, words - k), Left{a.at + k * a.word, a.row, a.word}, b + k * TILE, c);
  }
  for (int r = 0; r < R; ++r)
    for (int q = 0; q < VECTORS; ++q)
      if (j + 16 * q < n) Put::template put<A>(o, i + r, j + 16 * q, first(n - j - 16 * q), c[r][q]);
}

// Rows i to end by one tile of B, in blocks of like height: a low one has too few sums under way to keep the multipliers busy.
template <class Put, int A> INLINE void rows(int64_t words, Left a, const uint32_t *b, Ahead &next, const Out &o, int64_t i, int64_t end, int64_t j, int64_t n) {
  for (int64_t left = (end - i + ROWS - 1) / ROWS; left > 0; --left) {
    const int64_t height = (end - i + left - 1) / left;
    switch (height) {
    case 6: block<Put, A, 6>(words, a, b, next, o, i, j, n); break;
    case 5: block<Put, A, 5>(words, a, b, next, o, i, j, n); break;
    case 4: block<Put, A, 4>(words, a, b, next, o, i, j, n); break;
    case 3: block<Put, A, 3>(words, a, b, next, o, i, j, n); break;
    case 2: block<Put, A, 2>(words, a, b, next, o, i, j, n); break;
    default: block<Put, A, 1>(words, a, b, next, o, i, j, n);
    }
    i += height, a.at += height * a.row;
  }
}

#endif

INLINE int64_t words_of(const Product &p) { return (p.k + PER - 1) / PER; }
INLINE int64_t tiles_of(const Product &p) { return (p.n + TILE - 1) / TILE; }
// Words of K that are worked off at a time: only sums in memory can be worked off in pieces.
INLINE int64_t depth_of(const Product &p, const Out &o) { return o.kind == OUT_EXACT ? least(DEPTH, words_of(p)) : words_of(p); }
// Rows of A that stay in the second-level cache while B passes, whole groups of them.
INLINE int64_t height_of(const Product &p, int64_t depth) {
  const int64_t group = p.tiled ? TILE : GROUP, height = CACHED / depth / group * group;
  return height < group ? group : height;
}

// Rows [top, bottom) and words [k, k + deep) of A by a tile of B. `top` is at the start of a tile where A stands in tiles.
template <class Put, int A> INLINE void by_tile(const Product &p, int64_t top, int64_t bottom, int64_t k, int64_t deep, int64_t tile, Ahead &next, const Out &o) {
  const int64_t words = words_of(p);
  const uint32_t *b = p.b + (tile * words + k) * TILE;
#ifdef RLHF_AMX
  const int64_t stride = p.tiled ? left_row(p.k) : p.stride;
#else
  const int64_t stride = p.stride;
  if (p.tiled) {
    for (int64_t i = top; i < bottom; i += TILE)
      rows<Put, A>(deep, Left{p.a + (i / TILE * words + k) * TILE, 1, TILE}, b, next, o, i, least(i + TILE, bottom), tile * TILE, p.n);
    return;
  }
#endif
  rows<Put, A>(deep, Left{p.a + top * stride + k, stride, 1}, b, next, o, top, bottom, tile * TILE, p.n);
}

// Rows [top, bottom) and tiles [first, last) of C.
struct Piece {
  int64_t top, bottom, first, last;
};

// `after`: the tile that is read once this is done, or null.
template <class Put, int A> void part(const Product &p, const Out &whole, Piece c, const uint32_t *after) {
  const int64_t words = words_of(p), depth = depth_of(p, whole), height = height_of(p, depth);
  Out o = whole;
  for (int64_t k = 0; k < words; k += depth, o.add = 1, o.bias = nullptr) {
    const int64_t deep = least(depth, words - k);
    for (int64_t top = c.top; top < c.bottom; top += height) {
      const int64_t bottom = least(top + height, c.bottom);
      const int64_t blocks = (bottom - top + GROUP - 1) / GROUP;
      for (int64_t t = c.first; t < c.last; ++t) {
        const uint32_t *then = after;
        if (t + 1 < c.last) then = p.b + ((t + 1) * words + k) * TILE;
        else if (bottom < c.bottom) then = p.b + (c.first * words + k) * TILE;
        else if (k + deep < words) then = p.b + (c.first * words + k + deep) * TILE;
        Ahead next{then, then ? then + deep * TILE : then, (PIECE * VECTORS + blocks - 1) / blocks};
        by_tile<Put, A>(p, top, bottom, k, deep, t, next, o);
      }
    }
  }
}

// A product in pieces, which each thread takes as it comes to them: large ones first, so that they are few, and small ones at last, so that all threads end together
// however fast each of them is. Rows are cut where there are many heights of them; of fewer the tiles are, so that each is read by one thread.
struct Pieces {
  const Product &p;
  int64_t &taken; // of `count`, by all threads
  int threads;
  int64_t height, count, smallest;

  Pieces(const Product &p, const Out &o, int64_t &taken, int threads) : p(p), taken(taken), threads(threads), height(height_of(p, depth_of(p, o))) {
    const int64_t heights = (p.m + height - 1) / height, multiplied = (p.m ? p.m : 1) * p.k * TILE;
    if (heights < 4 * threads) height = 0;
    count = height ? heights : tiles_of(p);
    smallest = height || multiplied >= MUCH ? 1 : (MUCH + multiplied - 1) / multiplied;
  }

  // The next one; empty where none is left.
  Piece take() const {
    int64_t from = __atomic_load_n(&taken, __ATOMIC_RELAXED), to;
    do {
      if (from >= count) return {0, 0, 0, 0};
      to = (count - from) / (2 * threads);
      to = least(from + (to < smallest ? smallest : to), count);
    } while (!__atomic_compare_exchange_n(&taken, &from, to, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    if (height) return {from * height, least(to * height, p.m), 0, tiles_of(p)};
    return {0, p.m, from, to};
  }

  // The first tile of a piece of this matrix, or null.
  const uint32_t *tile(const uint32_t *b, Piece c) const { return c.first < c.last ? b + c.first * words_of(p) * TILE : nullptr; }

  // What this thread does: `work(piece, next piece)`.
  template <class Work> void each(Work work) const {
    for (Piece now = take(); now.first < now.last;) {
      const Piece next = take();
      work(now, next);
      now = next;
    }
  }
};

// One thread's share of a product. `taken`: 0 before the first thread begins.
template <class Put, int A> INLINE void share(const Product &p, const Out &o, int64_t &taken, int threads) {
  const Pieces pieces(p, o, taken, threads);
  pieces.each([&](Piece now, Piece next) { part<Put, A>(p, o, now, pieces.tile(p.b, next)); });
}

} // namespace

// Matrix products of bfloat16 with sums in float32, for AVX512-BF16.
//
// C[M, N] = A[M, K] · B[K, N]. B is packed into tiles (tiles.h), the rest of the last one 0. A is rows as they lie in memory, or packed into the same
// tiles (those of its transpose) where K runs across its rows.
//
// Every number of C is summed in one order, whatever M, N and the number of threads are.

#include "matmul.h"

#ifdef __AVX512BF16__

#include "tiles.h"

namespace {

constexpr int64_t DEPTH = 512; // pairs of K that are worked off at a time where sums stand in memory
constexpr int64_t CACHED = 96 * 1024; // words of A that stay in the second-level cache while B passes

// What becomes of sums. `i`, `j`: row and first column of the sixteen.
struct Plain { // c = sum + bias
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, __mmask16 m, Floats x) {
    if (o.bias) x = _mm512_add_ps(x, load(o.bias + j, m));
    store((bf16 *)o.c + i * o.stride + j, x, m);
  }
};
struct Exact { // float32: c += sum, or c = sum
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, __mmask16 m, Floats x) {
    float *c = (float *)o.c + i * o.stride + j;
    if (o.bias) x = _mm512_add_ps(x, load(o.bias + j, m));
    store(c, o.add ? _mm512_add_ps(x, load(c, m)) : x, m);
  }
};
struct Activate { // inner = sum + bias, c = activation(inner)
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, __mmask16 m, Floats x) {
    if (o.bias) x = _mm512_add_ps(x, load(o.bias + j, m));
    if (o.inner) store((bf16 *)o.inner + i * o.stride + j, x, m);
    store((bf16 *)o.c + i * o.stride + j, activate<A>(rounded(x)), m);
  }
};
struct Slope { // c = sum · activation'(inner)
  template <int A> INLINE void put(const Out &o, int64_t i, int64_t j, __mmask16 m, Floats x) {
    x = _mm512_mul_ps(x, slope<A>(load((const bf16 *)o.inner + i * o.stride + j, m)));
    store((bf16 *)o.c + i * o.stride + j, x, m);
  }
};

template <class Put, int A, int R> INLINE void block(int64_t pairs, Left a, const uint32_t *b, const Out &o, int64_t i, int64_t j, int64_t n) {
  Floats c[R][4];
  clear(c);
  multiply(pairs, a, b, c);
  for (int r = 0; r < R; ++r)
    for (int q = 0; q < 4; ++q)
      if (j + 16 * q < n) Put::template put<A>(o, i + r, j + 16 * q, first(n - j - 16 * q), c[r][q]);
}

// Rows i to end, at most a tile of them, by one tile of B.
template <class Put, int A> INLINE void rows(int64_t pairs, Left a, const uint32_t *b, const Out &o, int64_t i, int64_t end, int64_t j, int64_t n) {
  for (; i + ROWS <= end; i += ROWS, a.at += ROWS * a.row) block<Put, A, ROWS>(pairs, a, b, o, i, j, n);
  switch (end - i) {
  case 5: return block<Put, A, 5>(pairs, a, b, o, i, j, n);
  case 4: return block<Put, A, 4>(pairs, a, b, o, i, j, n);
  case 3: return block<Put, A, 3>(pairs, a, b, o, i, j, n);
  case 2: return block<Put, A, 2>(pairs, a, b, o, i, j, n);
  case 1: return block<Put, A, 1>(pairs, a, b, o, i, j, n);
  }
}

// Rows [from, to) and tiles [first, last) of C.
template <class Put, int A>
void part(const Product &p, const Out &whole, int64_t from, int64_t to, int64_t first_tile, int64_t last_tile) {
  const int64_t pairs = (p.k + 1) / 2, depth = whole.kind == OUT_EXACT ? DEPTH : pairs; // only sums in memory can be worked off in pieces
  Out o = whole;
  const int64_t group = p.tiled ? TILE : ROWS;
  for (int64_t k = 0; k < pairs; k += depth, o.add = 1) {
    const int64_t deep = least(depth, pairs - k);
    int64_t height = CACHED / deep / group * group;
    if (height < group) height = group;
    for (int64_t top = from; top < to; top += height) {
      const int64_t bottom = least(top + height, to);
      for (int64_t t = first_tile; t < last_tile; ++t) {
        const uint32_t *b = p.b + (t * pairs + k) * TILE;
        if (!p.tiled) {
          rows<Put, A>(deep, Left{p.a + top * p.stride + k, p.stride, 1}, b, o, top, bottom, t * TILE, p.n);
        } else { // top is at the start of a tile of A
          for (int64_t i = top; i < bottom; i += TILE)
            rows<Put, A>(deep, Left{p.a + (i / TILE * pairs + k) * TILE, 1, TILE}, b, o, i, least(i + TILE, bottom), t * TILE, p.n);
        }
      }
    }
  }
}

template <class Put, int A> void product(const Product &p, const Out &o, int threads) {
  const int64_t tiles = (p.n + TILE - 1) / TILE, group = p.tiled ? TILE : ROWS, groups = (p.m + group - 1) / group;
  const bool by_rows = groups >= 4 * threads; // few rows: threads share out the columns, and each reads its part of B once
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) {
    if (by_rows)
      part<Put, A>(p, o, groups * t / threads * group, least(groups * (t + 1) / threads * group, p.m), 0, tiles);
    else
      part<Put, A>(p, o, 0, p.m, tiles * t / threads, tiles * (t + 1) / threads);
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

template <class T> void pack(const T *w, const Matrix &s, uint32_t *out, float *sums, int threads) {
  const int64_t tiles = (s.n + TILE - 1) / TILE, words = (s.k + 1) / 2 * TILE;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t left = least(TILE, s.n - t * TILE);
    const T *from = w + t * TILE * (s.along ? s.stride : 1);
    uint32_t *to = out + t * words;
    float *sum = sums ? sums + t * TILE : nullptr;
    if (s.along) pack_along(from, s.stride, s.k, left, to);
    else if (s.activation == GELU_TANH) pack_across<T, GELU_TANH>(from, s.stride, s.k, left, to, sum);
    else if (s.activation == GELU) pack_across<T, GELU>(from, s.stride, s.k, left, to, sum);
    else if (s.activation == RELU) pack_across<T, RELU>(from, s.stride, s.k, left, to, sum);
    else if (s.activation == SILU) pack_across<T, SILU>(from, s.stride, s.k, left, to, sum);
    else pack_across<T, NONE>(from, s.stride, s.k, left, to, sum);
  }
}

} // namespace

extern "C" {

void rlhf_bf16_pack(const Matrix *s, uint32_t *out, float *sums, int threads) {
  if (s->is_bf16)
    pack((const bf16 *)s->w, *s, out, sums, threads);
  else
    pack((const float *)s->w, *s, out, sums, threads);
}

void rlhf_bf16_product(const Product *p, const Out *o, int threads) {
  switch (o->kind) {
  case OUT_EXACT: return product<Exact, NONE>(*p, *o, threads);
  case OUT_ACTIVATE: return by_activation<Activate>(o->activation, *p, *o, threads);
  case OUT_SLOPE: return by_activation<Slope>(o->activation, *p, *o, threads);
  default: return product<Plain, NONE>(*p, *o, threads);
  }
}

} // extern "C"

#else // built for another kind of processor: bf16::supported() says no, and nobody calls these

extern "C" {

void rlhf_bf16_pack(const Matrix *, uint32_t *, float *, int) {}
void rlhf_bf16_product(const Product *, const Out *, int) {}

} // extern "C"

#endif

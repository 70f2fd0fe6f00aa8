// Matrix products of bfloat16 with sums in float32, for AVX512-BF16.

#include "matmul.h"

#if defined(__AVX512BF16__) || defined(RLHF_EMULATED)

#include "products.h"

namespace {

template <class Put, int A> void product(const Product &p, const Out &o, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int t = 0; t < threads; ++t) share<Put, A>(p, o, t, threads);
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
  case OUT_PLUS: return product<Plus, NONE>(*p, *o, threads);
  case OUT_PLUS_ACTIVATE: return by_activation<PlusActivate>(o->activation, *p, *o, threads);
  case OUT_PLUS_SLOPE: return by_activation<PlusSlope>(o->activation, *p, *o, threads);
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

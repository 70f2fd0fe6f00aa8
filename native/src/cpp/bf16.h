// Vectors of sixteen float32 beside their bfloat16 form, for files that are compiled for AVX512-BF16. No C++ library: what such a file would
// instantiate of it could be chosen by the linker for everybody else, on processors that do not know these instructions.
#pragma once

#ifdef RLHF_EMULATED
#include "emulated.h"
#else
#include <immintrin.h>
#endif
#include <stdint.h>

typedef uint16_t bf16; // the upper half of a float32

#define INLINE static inline __attribute__((always_inline))

namespace {

typedef __m512 Floats;

INLINE __mmask16 first(int64_t n) { return n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : __mmask16((1u << n) - 1); }

INLINE Floats all(float x) { return _mm512_set1_ps(x); }
INLINE Floats load(const float *p) { return _mm512_loadu_ps(p); }
INLINE Floats load(const float *p, __mmask16 m) { return _mm512_maskz_loadu_ps(m, p); }
INLINE Floats widen(__m256i x) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16)); }
INLINE Floats load(const bf16 *p) { return widen(_mm256_loadu_si256((const __m256i *)p)); }
INLINE Floats load(const bf16 *p, __mmask16 m) { return widen(_mm256_maskz_loadu_epi16(m, p)); }
// Rounds to nearest, ties to even.
INLINE __m256i narrow(Floats x) { return (__m256i)_mm512_cvtneps_pbh(x); }
INLINE void store(bf16 *p, Floats x) { _mm256_storeu_si256((__m256i *)p, narrow(x)); }
INLINE void store(bf16 *p, Floats x, __mmask16 m) { _mm256_mask_storeu_epi16(p, m, narrow(x)); }
INLINE void store(float *p, Floats x) { _mm512_storeu_ps(p, x); }
INLINE void store(float *p, Floats x, __mmask16 m) { _mm512_mask_storeu_ps(p, m, x); }
INLINE Floats rounded(Floats x) { return widen(narrow(x)); }

// e^x, to 2 ulp between -87 and 88, and clamped there. Cephes' expf.
INLINE Floats exp_of(Floats x) {
  x = _mm512_max_ps(_mm512_min_ps(x, all(88.0f)), all(-87.0f));
  Floats n = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504088896341f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  Floats r = _mm512_fnmadd_ps(n, all(0.693359375f), x);
  r = _mm512_fmadd_ps(n, all(2.12194440e-4f), r);
  Floats p = all(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, all(1.3981999507e-3f));
  p = _mm512_fmadd_ps(p, r, all(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, all(4.1665795894e-2f));
  p = _mm512_fmadd_ps(p, r, all(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, all(5.0000001201e-1f));
  p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), all(1.0f));
  return _mm512_scalef_ps(p, n);
}

INLINE Floats sigmoid(Floats x) { return _mm512_div_ps(all(1.0f), _mm512_add_ps(all(1.0f), exp_of(_mm512_sub_ps(_mm512_setzero_ps(), x)))); }

enum Activation { NONE = 0, GELU_TANH = 1, GELU = 2, RELU = 3, SILU = 4 };

// Standard normal distribution and e^(-x²/2). Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
INLINE Floats normal_cdf(Floats x, Floats &bell) {
  const Floats one = all(1.0f);
  Floats z = _mm512_mul_ps(_mm512_abs_ps(x), all(0.70710678118654752f));
  Floats t = _mm512_div_ps(one, _mm512_fmadd_ps(z, all(0.3275911f), one));
  bell = exp_of(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z)));
  Floats p = all(1.061405429f);
  p = _mm512_fmadd_ps(p, t, all(-1.453152027f));
  p = _mm512_fmadd_ps(p, t, all(1.421413741f));
  p = _mm512_fmadd_ps(p, t, all(-0.284496736f));
  p = _mm512_fmadd_ps(p, t, all(0.254829592f));
  Floats tail = _mm512_mul_ps(_mm512_mul_ps(_mm512_mul_ps(p, t), bell), all(0.5f)); // of the side that x is on
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), _mm512_sub_ps(one, tail), tail);
}

// 2·sqrt(2/pi)·(x + 0.044715·x³): GELU's tanh form is x·sigmoid of this.
INLINE Floats gelu_gate(Floats x, Floats square) {
  return _mm512_mul_ps(_mm512_mul_ps(x, all(1.5957691216057308f)), _mm512_fmadd_ps(square, all(0.044715f), all(1.0f)));
}

template <int A> INLINE Floats activate(Floats x) {
  if (A == GELU_TANH) return _mm512_mul_ps(x, sigmoid(gelu_gate(x, _mm512_mul_ps(x, x))));
  if (A == GELU) {
    Floats bell;
    return _mm512_mul_ps(x, normal_cdf(x, bell));
  }
  if (A == RELU) return _mm512_max_ps(x, _mm512_setzero_ps());
  if (A == SILU) return _mm512_mul_ps(x, sigmoid(x));
  return x;
}

// The derivative at x.
template <int A> INLINE Floats slope(Floats x) {
  const Floats one = all(1.0f);
  if (A == GELU_TANH) {
    Floats square = _mm512_mul_ps(x, x), s = sigmoid(gelu_gate(x, square));
    Floats gate = _mm512_mul_ps(all(1.5957691216057308f), _mm512_fmadd_ps(square, all(3 * 0.044715f), one)); // of the gate
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_mul_ps(x, gate), s), _mm512_sub_ps(one, s), s);
  }
  if (A == GELU) {
    Floats bell, cdf = normal_cdf(x, bell);
    return _mm512_fmadd_ps(_mm512_mul_ps(x, all(0.39894228040143268f)), bell, cdf);
  }
  if (A == RELU) return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), one);
  if (A == SILU) {
    Floats s = sigmoid(x);
    return _mm512_mul_ps(s, _mm512_fmadd_ps(x, _mm512_sub_ps(one, s), one));
  }
  return one;
}

// Rotary positions: feature i turns with feature i + half by `sign` times its angle.
INLINE void turn(float *x, const float *cos, const float *sin, int64_t half, float sign) {
  for (int64_t i = 0; i < half; i += 16) {
    const __mmask16 m = first(half - i);
    const Floats c = load(cos + i, m), s = _mm512_mul_ps(load(sin + i, m), all(sign)), x1 = load(x + i, m), x2 = load(x + half + i, m);
    store(x + i, _mm512_fmsub_ps(x1, c, _mm512_mul_ps(x2, s)), m);
    store(x + half + i, _mm512_fmadd_ps(x2, c, _mm512_mul_ps(x1, s)), m);
  }
}

} // namespace

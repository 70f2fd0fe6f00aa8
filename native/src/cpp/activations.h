// Functions of vectors of float32, the same for every kind of word.
#pragma once

#include "vectors.h"

namespace {

// e^x, to 2 ulp between -87 and 88, and clamped there. Cephes' expf.
INLINE Floats exp_of(Floats x) {
  x = larger(all(-87.0f), smaller(all(88.0f), x)); // NaN stays NaN: of two the second is taken where one is
  Floats n = nearest(mul(x, all(1.44269504088896341f)));
  Floats r = fnmadd(n, all(0.693359375f), x);
  r = fmadd(n, all(2.12194440e-4f), r);
  Floats p = all(1.9875691500e-4f);
  p = fmadd(p, r, all(1.3981999507e-3f));
  p = fmadd(p, r, all(8.3334519073e-3f));
  p = fmadd(p, r, all(4.1665795894e-2f));
  p = fmadd(p, r, all(1.6666665459e-1f));
  p = fmadd(p, r, all(5.0000001201e-1f));
  p = add(fmadd(p, mul(r, r), r), all(1.0f));
  return times_power(p, n);
}

INLINE Floats sigmoid(Floats x) { return div(all(1.0f), add(all(1.0f), exp_of(sub(zero(), x)))); }

enum Activation { NONE = 0, GELU_TANH = 1, GELU = 2, RELU = 3, SILU = 4 };

// Standard normal distribution and e^(-x²/2). Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
INLINE Floats normal_cdf(Floats x, Floats &bell) {
  const Floats one = all(1.0f);
  Floats z = mul(magnitude(x), all(0.70710678118654752f));
  Floats t = div(one, fmadd(z, all(0.3275911f), one));
  bell = exp_of(sub(zero(), mul(z, z)));
  Floats p = all(1.061405429f);
  p = fmadd(p, t, all(-1.453152027f));
  p = fmadd(p, t, all(1.421413741f));
  p = fmadd(p, t, all(-0.284496736f));
  p = fmadd(p, t, all(0.254829592f));
  Floats tail = mul(mul(mul(p, t), bell), all(0.5f)); // of the side that x is on
  return select(above(zero(), x), tail, sub(one, tail));
}

// 2·sqrt(2/pi)·(x + 0.044715·x³): GELU's tanh form is x·sigmoid of this.
INLINE Floats gelu_gate(Floats x, Floats square) {
  return mul(mul(x, all(1.5957691216057308f)), fmadd(square, all(0.044715f), all(1.0f)));
}

template <int A> INLINE Floats activate(Floats x) {
  if (A == GELU_TANH) return mul(x, sigmoid(gelu_gate(x, mul(x, x))));
  if (A == GELU) {
    Floats bell;
    return mul(x, normal_cdf(x, bell));
  }
  if (A == RELU) return larger(zero(), x); // NaN too
  if (A == SILU) return mul(x, sigmoid(x));
  return x;
}

// The derivative at x.
template <int A> INLINE Floats slope(Floats x) {
  const Floats one = all(1.0f);
  if (A == GELU_TANH) {
    Floats square = mul(x, x), s = sigmoid(gelu_gate(x, square));
    Floats gate = mul(all(1.5957691216057308f), fmadd(square, all(3 * 0.044715f), one)); // of the gate
    return fmadd(mul(mul(x, gate), s), sub(one, s), s);
  }
  if (A == GELU) {
    Floats bell, cdf = normal_cdf(x, bell);
    return fmadd(mul(x, all(0.39894228040143268f)), bell, cdf);
  }
  if (A == RELU) return only(above(x, zero()), one);
  if (A == SILU) {
    Floats s = sigmoid(x);
    return mul(s, fmadd(x, sub(one, s), one));
  }
  return one;
}

// Rotary positions: feature i turns with feature i + half by `sign` times its angle.
INLINE void turn(float *x, const float *cos, const float *sin, int64_t half, float sign) {
  for (int64_t i = 0; i < half; i += 16) {
    const Mask m = first(half - i);
    const Floats c = load(cos + i, m), s = mul(load(sin + i, m), all(sign)), x1 = load(x + i, m), x2 = load(x + half + i, m);
    store(x + i, fmsub(x1, c, mul(x2, s)), m);
    store(x + half + i, fmadd(x2, c, mul(x1, s)), m);
  }
}

} // namespace

// Vectors of sixteen float32 in one register of AVX-512: see vectors.h.
#pragma once

#ifdef RLHF_EMULATED
#include "emulated.h"
#else
#include <immintrin.h>
#endif

namespace {

typedef __m512 Floats;
typedef __mmask16 Mask;

INLINE Mask first(int64_t n) { return n >= 16 ? Mask(0xffff) : n <= 0 ? Mask(0) : Mask((1u << n) - 1); }

INLINE Floats zero() { return _mm512_setzero_ps(); }
INLINE Floats all(float x) { return _mm512_set1_ps(x); }
INLINE Floats add(Floats x, Floats y) { return _mm512_add_ps(x, y); }
INLINE Floats sub(Floats x, Floats y) { return _mm512_sub_ps(x, y); }
INLINE Floats mul(Floats x, Floats y) { return _mm512_mul_ps(x, y); }
INLINE Floats div(Floats x, Floats y) { return _mm512_div_ps(x, y); }
INLINE Floats fmadd(Floats x, Floats y, Floats z) { return _mm512_fmadd_ps(x, y, z); }
INLINE Floats fmsub(Floats x, Floats y, Floats z) { return _mm512_fmsub_ps(x, y, z); }
INLINE Floats fnmadd(Floats x, Floats y, Floats z) { return _mm512_fnmadd_ps(x, y, z); }
INLINE Floats larger(Floats x, Floats y) { return _mm512_max_ps(x, y); }
INLINE Floats smaller(Floats x, Floats y) { return _mm512_min_ps(x, y); }
INLINE Floats magnitude(Floats x) { return _mm512_abs_ps(x); }
INLINE Floats nearest(Floats x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE Floats times_power(Floats x, Floats n) { return _mm512_scalef_ps(x, n); } // x · 2ⁿ
INLINE Mask above(Floats x, Floats y) { return _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ); }
INLINE Floats select(Mask m, Floats x, Floats otherwise) { return _mm512_mask_blend_ps(m, otherwise, x); }
INLINE Floats only(Mask m, Floats x) { return _mm512_maskz_mov_ps(m, x); }
INLINE float sum_of(Floats x) { return _mm512_reduce_add_ps(x); }
INLINE float most_of(Floats x) { return _mm512_reduce_max_ps(x); }

INLINE Floats load(const float *p) { return _mm512_loadu_ps(p); }
INLINE Floats load(const float *p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
INLINE void store(float *p, Floats x) { _mm512_storeu_ps(p, x); }
INLINE void store(float *p, Floats x, Mask m) { _mm512_mask_storeu_ps(p, m, x); }

} // namespace

// The instructions that the kernels use, in plain C++: what a processor without AVX512-BF16 needs to test them (RLHF_EMULATE_BF16=1 for the build). Slow, and the same numbers:
// sums of products of bfloat16 are taken in the instruction's order, the even ones first, without an intermediate rounding of the products.
#pragma once

#include <immintrin.h>
#include <string.h>

namespace {

typedef float E16f __attribute__((vector_size(64)));
typedef int E16i __attribute__((vector_size(64)));
typedef unsigned short E32u __attribute__((vector_size(64)));
typedef long long E8l __attribute__((vector_size(64)));
typedef unsigned short E16u __attribute__((vector_size(32)));

#define EMU static __attribute__((noinline, unused))

template <class F> static inline __m512 emu_map(F f) {
  E16f out;
  for (int i = 0; i < 16; ++i) out[i] = f(i);
  return (__m512)out;
}
template <class F> static inline __m512i emu_mapi(F f) {
  E16i out;
  for (int i = 0; i < 16; ++i) out[i] = f(i);
  return (__m512i)out;
}
EMU float emu_at(__m512 x, int i) { return ((E16f)x)[i]; }
EMU int emu_ati(__m512i x, int i) { return ((E16i)x)[i]; }
EMU unsigned short emu_bf16(float x) {
  unsigned u;
  memcpy(&u, &x, 4);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (unsigned short)(u >> 16 | 0x40);
  if ((u & 0x7f800000u) == 0) return (unsigned short)(u >> 16 & 0x8000); // denormals count as zero
  return (unsigned short)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
EMU float emu_float(unsigned short x) {
  unsigned u = (unsigned)x << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

EMU __m512 emu_set1_ps(float x) { return emu_map([&](int) { return x; }); }
EMU __m512 emu_setzero_ps() { return emu_set1_ps(0.0f); }
EMU __m512i emu_set1_epi32(int x) { return emu_mapi([&](int) { return x; }); }
EMU __m512i emu_setzero_si512() { return emu_set1_epi32(0); }
EMU __m512i emu_set1_epi16(short x) { return emu_set1_epi32(int((unsigned)(unsigned short)x * 0x10001u)); }
EMU __m512 emu_add_ps(__m512 a, __m512 b) { return (__m512)((E16f)a + (E16f)b); }
EMU __m512 emu_sub_ps(__m512 a, __m512 b) { return (__m512)((E16f)a - (E16f)b); }
EMU __m512 emu_mul_ps(__m512 a, __m512 b) { return (__m512)((E16f)a * (E16f)b); }
EMU __m512 emu_div_ps(__m512 a, __m512 b) { return (__m512)((E16f)a / (E16f)b); }
EMU __m512 emu_max_ps(__m512 a, __m512 b) { return emu_map([&](int i) { return emu_at(a, i) > emu_at(b, i) ? emu_at(a, i) : emu_at(b, i); }); }
EMU __m512 emu_min_ps(__m512 a, __m512 b) { return emu_map([&](int i) { return emu_at(a, i) < emu_at(b, i) ? emu_at(a, i) : emu_at(b, i); }); }
EMU __m512 emu_abs_ps(__m512 a) { return emu_map([&](int i) { return __builtin_fabsf(emu_at(a, i)); }); }
EMU __m512 emu_fmadd_ps(__m512 a, __m512 b, __m512 c) { return emu_map([&](int i) { return __builtin_fmaf(emu_at(a, i), emu_at(b, i), emu_at(c, i)); }); }
EMU __m512 emu_fmsub_ps(__m512 a, __m512 b, __m512 c) { return emu_map([&](int i) { return __builtin_fmaf(emu_at(a, i), emu_at(b, i), -emu_at(c, i)); }); }
EMU __m512 emu_fnmadd_ps(__m512 a, __m512 b, __m512 c) { return emu_map([&](int i) { return __builtin_fmaf(-emu_at(a, i), emu_at(b, i), emu_at(c, i)); }); }
EMU __m512 emu_roundscale_ps(__m512 a, int) { return emu_map([&](int i) { return __builtin_rintf(emu_at(a, i)); }); }
EMU __m512 emu_scalef_ps(__m512 a, __m512 n) { return emu_map([&](int i) { return __builtin_ldexpf(emu_at(a, i), (int)__builtin_floorf(emu_at(n, i))); }); }
EMU __mmask16 emu_cmp_ps_mask(__m512 a, __m512 b, int how) {
  unsigned m = 0;
  for (int i = 0; i < 16; ++i) m |= unsigned(how == _CMP_LT_OQ ? emu_at(a, i) < emu_at(b, i) : emu_at(a, i) > emu_at(b, i)) << i;
  return (__mmask16)m;
}
EMU __m512 emu_mask_blend_ps(__mmask16 m, __m512 a, __m512 b) { return emu_map([&](int i) { return m >> i & 1 ? emu_at(b, i) : emu_at(a, i); }); }
EMU __m512 emu_maskz_mov_ps(__mmask16 m, __m512 a) { return emu_mask_blend_ps(m, emu_setzero_ps(), a); }
EMU float emu_reduce_add_ps(__m512 a) {
  float s[16];
  memcpy(s, &a, 64);
  for (int n = 8; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) s[i] += s[i + n];
  return s[0];
}
EMU float emu_reduce_max_ps(__m512 a) {
  float most = emu_at(a, 0);
  for (int i = 1; i < 16; ++i) most = emu_at(a, i) > most ? emu_at(a, i) : most;
  return most;
}
EMU __m512 emu_loadu_ps(const void *p) {
  __m512 x;
  memcpy(&x, p, 64);
  return x;
}
EMU __m512i emu_loadu_si512(const void *p) {
  __m512i x;
  memcpy(&x, p, 64);
  return x;
}
EMU void emu_storeu_ps(void *p, __m512 x) { memcpy(p, &x, 64); }
EMU void emu_storeu_si512(void *p, __m512i x) { memcpy(p, &x, 64); }
EMU __m512 emu_maskz_loadu_ps(__mmask16 m, const void *p) { return emu_map([&](int i) { return m >> i & 1 ? ((const float *)p)[i] : 0.0f; }); }
EMU __m512i emu_maskz_loadu_epi32(__mmask16 m, const void *p) { return emu_mapi([&](int i) { return m >> i & 1 ? ((const int *)p)[i] : 0; }); }
EMU void emu_mask_storeu_ps(void *p, __mmask16 m, __m512 x) {
  for (int i = 0; i < 16; ++i)
    if (m >> i & 1) ((float *)p)[i] = emu_at(x, i);
}
EMU void emu_mask_storeu_epi32(void *p, __mmask16 m, __m512i x) {
  for (int i = 0; i < 16; ++i)
    if (m >> i & 1) ((int *)p)[i] = emu_ati(x, i);
}
EMU __m512i emu_maskz_loadu_epi16(__mmask32 m, const void *p) {
  E32u x;
  for (int i = 0; i < 32; ++i) x[i] = m >> i & 1 ? ((const unsigned short *)p)[i] : 0;
  return (__m512i)x;
}
EMU void emu_mask_storeu_epi16(void *p, __mmask32 m, __m512i x) {
  for (int i = 0; i < 32; ++i)
    if (m >> i & 1) ((unsigned short *)p)[i] = ((E32u)x)[i];
}
EMU __m256i emu_maskz_loadu_epi16_256(__mmask16 m, const void *p) {
  E16u x;
  for (int i = 0; i < 16; ++i) x[i] = m >> i & 1 ? ((const unsigned short *)p)[i] : 0;
  return (__m256i)x;
}
EMU void emu_mask_storeu_epi16_256(void *p, __mmask16 m, __m256i x) {
  for (int i = 0; i < 16; ++i)
    if (m >> i & 1) ((unsigned short *)p)[i] = ((E16u)x)[i];
}
EMU __m256i emu_loadu_si256(const void *p) {
  __m256i x;
  memcpy(&x, p, 32);
  return x;
}
EMU void emu_storeu_si256(void *p, __m256i x) { memcpy(p, &x, 32); }
EMU __m512i emu_cvtepu16_epi32(__m256i x) { return emu_mapi([&](int i) { return (int)((E16u)x)[i]; }); }
EMU __m512i emu_slli_epi32(__m512i x, int n) { return emu_mapi([&](int i) { return int((unsigned)emu_ati(x, i) << n); }); }
EMU __m512i emu_or_si512(__m512i a, __m512i b) { return (__m512i)((E8l)a | (E8l)b); }
EMU __m512i emu_and_si512(__m512i a, __m512i b) { return (__m512i)((E8l)a & (E8l)b); }
EMU __m512 emu_castsi512_ps(__m512i x) { return (__m512)x; }
EMU __m256i emu_part(__m512i x, int which) {
  __m256i out;
  memcpy(&out, (const char *)&x + 32 * which, 32);
  return out;
}
EMU __m256bh emu_cvtneps_pbh(__m512 x) {
  E16u out;
  for (int i = 0; i < 16; ++i) out[i] = emu_bf16(emu_at(x, i));
  return (__m256bh)out;
}
EMU __m512bh emu_cvtne2ps_pbh(__m512 high, __m512 low) {
  E32u out;
  for (int i = 0; i < 16; ++i) out[i] = emu_bf16(emu_at(low, i)), out[16 + i] = emu_bf16(emu_at(high, i));
  return (__m512bh)out;
}
EMU __m512 emu_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  const E32u x = (E32u)a, y = (E32u)b;
  return emu_map([&](int i) {
    const float even = __builtin_fmaf(emu_float(x[2 * i]), emu_float(y[2 * i]), emu_at(sum, i));
    return __builtin_fmaf(emu_float(x[2 * i + 1]), emu_float(y[2 * i + 1]), even);
  });
}
EMU __m512i emu_unpack_epi32(__m512i a, __m512i b, int high) {
  return emu_mapi([&](int i) { return emu_ati(i & 1 ? b : a, i / 4 * 4 + i % 4 / 2 + 2 * high); });
}
EMU __m512i emu_unpack_epi64(__m512i a, __m512i b, int high) {
  E8l out;
  for (int i = 0; i < 8; ++i) out[i] = ((E8l)(i & 1 ? b : a))[i / 2 * 2 + high];
  return (__m512i)out;
}
EMU __m512i emu_shuffle_i32x4(__m512i a, __m512i b, int how) {
  return emu_mapi([&](int i) { return emu_ati(i < 8 ? a : b, (how >> 2 * (i / 4) & 3) * 4 + i % 4); });
}
EMU __m512i emu_permutex2var_epi16(__m512i a, __m512i at, __m512i b) {
  E32u out;
  for (int i = 0; i < 32; ++i) {
    const int from = ((E32u)at)[i] & 63;
    out[i] = ((E32u)(from & 32 ? b : a))[from & 31];
  }
  return (__m512i)out;
}
template <class... T> EMU __m512i emu_set_epi16(T... x) {
  const short list[] = {(short)x...};
  E32u out;
  for (int i = 0; i < 32; ++i) out[i] = (unsigned short)list[31 - i];
  return (__m512i)out;
}

} // namespace

#define _mm512_set1_ps emu_set1_ps
#define _mm512_setzero_ps emu_setzero_ps
#define _mm512_set1_epi32 emu_set1_epi32
#define _mm512_setzero_si512 emu_setzero_si512
#define _mm512_set1_epi16 emu_set1_epi16
#define _mm512_set_epi16 emu_set_epi16
#define _mm512_add_ps emu_add_ps
#define _mm512_sub_ps emu_sub_ps
#define _mm512_mul_ps emu_mul_ps
#define _mm512_div_ps emu_div_ps
#define _mm512_max_ps emu_max_ps
#define _mm512_min_ps emu_min_ps
#define _mm512_abs_ps emu_abs_ps
#define _mm512_fmadd_ps emu_fmadd_ps
#define _mm512_fmsub_ps emu_fmsub_ps
#define _mm512_fnmadd_ps emu_fnmadd_ps
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps emu_roundscale_ps
#define _mm512_scalef_ps emu_scalef_ps
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask emu_cmp_ps_mask
#define _mm512_mask_blend_ps emu_mask_blend_ps
#define _mm512_maskz_mov_ps emu_maskz_mov_ps
#define _mm512_reduce_add_ps emu_reduce_add_ps
#define _mm512_reduce_max_ps emu_reduce_max_ps
#define _mm512_loadu_ps emu_loadu_ps
#define _mm512_loadu_si512 emu_loadu_si512
#define _mm512_storeu_ps emu_storeu_ps
#define _mm512_storeu_si512 emu_storeu_si512
#define _mm512_maskz_loadu_ps emu_maskz_loadu_ps
#define _mm512_maskz_loadu_epi32 emu_maskz_loadu_epi32
#define _mm512_mask_storeu_ps emu_mask_storeu_ps
#define _mm512_mask_storeu_epi32 emu_mask_storeu_epi32
#define _mm512_maskz_loadu_epi16 emu_maskz_loadu_epi16
#define _mm512_mask_storeu_epi16 emu_mask_storeu_epi16
#define _mm256_maskz_loadu_epi16 emu_maskz_loadu_epi16_256
#define _mm256_mask_storeu_epi16 emu_mask_storeu_epi16_256
#define _mm256_loadu_si256 emu_loadu_si256
#define _mm256_storeu_si256 emu_storeu_si256
#define _mm512_cvtepu16_epi32 emu_cvtepu16_epi32
#undef _mm512_slli_epi32
#define _mm512_slli_epi32 emu_slli_epi32
#define _mm512_or_si512 emu_or_si512
#define _mm512_and_si512 emu_and_si512
#define _mm512_castsi512_ps emu_castsi512_ps
#define _mm512_castsi512_si256(x) emu_part(x, 0)
#undef _mm512_extracti64x4_epi64
#define _mm512_extracti64x4_epi64 emu_part
#define _mm512_cvtneps_pbh emu_cvtneps_pbh
#define _mm512_cvtne2ps_pbh emu_cvtne2ps_pbh
#define _mm512_dpbf16_ps emu_dpbf16_ps
#define _mm512_unpacklo_epi32(a, b) emu_unpack_epi32(a, b, 0)
#define _mm512_unpackhi_epi32(a, b) emu_unpack_epi32(a, b, 1)
#define _mm512_unpacklo_epi64(a, b) emu_unpack_epi64(a, b, 0)
#define _mm512_unpackhi_epi64(a, b) emu_unpack_epi64(a, b, 1)
#undef _mm512_shuffle_i32x4
#define _mm512_shuffle_i32x4 emu_shuffle_i32x4
#define _mm512_permutex2var_epi16 emu_permutex2var_epi16

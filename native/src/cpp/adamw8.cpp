// AdamW whose moments are bytes, as bitsandbytes keeps them (Dettmers et al., arXiv 2110.02861): of 256 values of a moment the largest, and of each value the
// nearest of 256 numbers, up to 1, that it is a multiple of. Plain C++ on raw memory; the loop stands three times, for AVX-512, for AVX2 and for any processor.
//
// The numbers are create_dynamic_map's: 0 and 1, and of the seven decades from 1e-7 to 1, the lowest first, decade i has the middles of 2^i equal parts of its
// upper nine tenths and the same below 0; without signs, as the second moment is, twice as many parts.

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define X86 1
#define AVX2 __attribute__((target("arch=x86-64-v3")))
#define AVX512 __attribute__((target("arch=x86-64-v4")))
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int64_t BLOCK = 256; // values that share a scale
constexpr int DECADES = 7;

// The numbers of a moment in ascending order. Those above 0 stand in the decades 1 to 7, each the middle of a part, so that what lies in the part is nearest to it; 0 is a decade of its own
// here, and so is 1.
struct alignas(64) Table {
  float value[256];
  float begin[16];           // where a decade begins: in the middle between its first number and the one before
  float parts[16], less[16]; // the part of x is x · parts - less, rounded down
  int32_t base[16], last[16]; // numbers of a decade, counted from 0 upwards
  int32_t zero;              // the place of 0

  explicit Table(bool sign) {
    float positive[256] = {0.0f};
    int n = 1;
    for (int d = 0; d < 16; ++d) begin[d] = INFINITY, parts[d] = less[d] = 0.0f, base[d] = last[d] = 0;
    for (int d = 1; d <= DECADES; ++d) {
      const int many = 1 << (sign ? d - 1 : d);
      const double end = pow(10.0, d - DECADES);
      parts[d] = float(many / 0.9 / end), less[d] = float(many / 9.0), base[d] = n, last[d] = n + many - 1;
      for (int j = 0; j < many; ++j) positive[n++] = float(end * (0.1 + 0.9 * (j + 0.5) / many));
    }
    base[8] = last[8] = n;
    positive[n++] = 1.0f;
    begin[0] = 0.0f;
    for (int d = 1; d <= DECADES + 1; ++d) begin[d] = 0.5f * (positive[base[d] - 1] + positive[base[d]]);
    zero = 256 - n;
    for (int j = 0; j < n; ++j) value[zero + j] = positive[j];
    for (int j = 1; j <= zero; ++j) value[zero - j] = -positive[j];
  }
};

// The number nearest to y, between -1 and 1.
INLINE int32_t nearest(const Table &t, float y) {
  const float size = fabsf(y);
  int32_t d = 0;
  for (int i = 1; i <= DECADES + 1; ++i) d += size >= t.begin[i];
  const int32_t part = int32_t(size * t.parts[d] - t.less[d]); // towards 0: not negative
  int32_t n = t.base[d] + part;
  n = n > t.last[d] ? t.last[d] : n;
  const int32_t c = y < 0.0f ? t.zero - n : t.zero + n;
  return c < 0 ? 0 : c; // -1 is none of them where there are signs
}

struct Step {
  float shrink, rate, beta1, beta2, root, eps, by; // root: 1 / √(1 − β2ᵗ); rate: lr / (1 − β1ᵗ); by: 1 / grad_scale
};

// The bits of numbers that are not negative are ordered as they are.
INLINE float largest(const float *x, int64_t n) {
  int32_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    int32_t bits;
    memcpy(&bits, x + i, 4);
    bits &= 0x7fffffff;
    most = bits > most ? bits : most;
  }
  float f;
  memcpy(&f, &most, 4);
  return f;
}

// What codes stand for. Bytes become words first: loops of one width become vectors.
INLINE void decode(const Table &t, const uint8_t *codes, float scale, int64_t n, float *x) {
  int32_t c[BLOCK];
  for (int64_t i = 0; i < n; ++i) c[i] = codes[i];
  for (int64_t i = 0; i < n; ++i) x[i] = t.value[c[i]] * scale;
}

INLINE void encode(const Table &t, const float *x, float most, int64_t n, uint8_t *codes) {
  const float by = most > 0.0f ? 1.0f / most : 0.0f;
  const float fine = by <= 3.4028234e38f ? by : 0.0f; // a block of subnormals is 0
  int32_t c[BLOCK];
  for (int64_t i = 0; i < n; ++i) {
    const float y = x[i] * fine;
    c[i] = nearest(t, y > 1.0f ? 1.0f : y < -1.0f ? -1.0f : y); // the product may round up
  }
  for (int64_t i = 0; i < n; ++i) codes[i] = uint8_t(c[i]);
}

#ifdef X86

// Sixteen at a time: tables of decades are registers.
AVX512 INLINE void encode_wide(const Table &t, const float *x, float most, uint8_t *codes) {
  const float by = most > 0.0f ? 1.0f / most : 0.0f;
  const __m512 factor = _mm512_set1_ps(by <= 3.4028234e38f ? by : 0.0f), parts = _mm512_load_ps(t.parts), less = _mm512_load_ps(t.less);
  const __m512i base = _mm512_load_si512(t.base), last = _mm512_load_si512(t.last), zero = _mm512_set1_epi32(t.zero), one = _mm512_set1_epi32(1);
  for (int64_t i = 0; i < BLOCK; i += 16) {
    const __m512 y = _mm512_mul_ps(_mm512_loadu_ps(x + i), factor), size = _mm512_min_ps(_mm512_abs_ps(y), _mm512_set1_ps(1.0f));
    __m512i d = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int j = 1; j <= DECADES + 1; ++j) d = _mm512_mask_add_epi32(d, _mm512_cmp_ps_mask(size, _mm512_set1_ps(t.begin[j]), _CMP_GE_OQ), d, one);
    const __m512 part = _mm512_fmsub_ps(size, _mm512_permutexvar_ps(d, parts), _mm512_permutexvar_ps(d, less));
    __m512i n = _mm512_add_epi32(_mm512_permutexvar_epi32(d, base), _mm512_cvttps_epi32(part));
    n = _mm512_min_epi32(n, _mm512_permutexvar_epi32(d, last));
    const __m512i c = _mm512_mask_sub_epi32(_mm512_add_epi32(zero, n), _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_LT_OQ), zero, n);
    _mm_storeu_si128((__m128i *)(codes + i), _mm512_cvtepi32_epi8(_mm512_max_epi32(c, _mm512_setzero_si512())));
  }
}

AVX512 INLINE void decode_wide(const Table &t, const uint8_t *codes, float scale, float *x) {
  for (int64_t i = 0; i < BLOCK; i += 16) {
    const __m512i c = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(codes + i)));
    _mm512_storeu_ps(x + i, _mm512_mul_ps(_mm512_i32gather_ps(c, t.value, 4), _mm512_set1_ps(scale)));
  }
}

#endif

// Up to BLOCK values.
#define PARAMETERS \
  const Table &signs, const Table &squares, const Step &s, int64_t n, float *__restrict p, const float *__restrict g, uint8_t *codes1, float *scale1, uint8_t *codes2, float *scale2
#define ARGUMENTS signs, squares, s, n, p, g, codes1, scale1, codes2, scale2

// The step itself, and the largest of the new moments.
INLINE void step(const Step &s, int64_t n, float *__restrict p, const float *__restrict g, float *__restrict m, float *__restrict v, float *scale1, float *scale2) {
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] * s.by;
    m[i] = s.beta1 * m[i] + (1.0f - s.beta1) * gradient;
    v[i] = s.beta2 * v[i] + (1.0f - s.beta2) * gradient * gradient;
    p[i] = p[i] * s.shrink - s.rate * m[i] / (sqrtf(v[i]) * s.root + s.eps);
  }
  *scale1 = largest(m, n), *scale2 = largest(v, n);
}

INLINE void body(PARAMETERS) {
  float m[BLOCK], v[BLOCK];
  decode(signs, codes1, *scale1, n, m);
  decode(squares, codes2, *scale2, n, v);
  step(s, n, p, g, m, v, scale1, scale2);
  encode(signs, m, *scale1, n, codes1);
  encode(squares, v, *scale2, n, codes2);
}

void plain(PARAMETERS) { body(ARGUMENTS); }
#ifdef X86
AVX2 void avx2(PARAMETERS) { body(ARGUMENTS); }
AVX512 void avx512(PARAMETERS) {
  if (n < BLOCK) return body(ARGUMENTS);
  alignas(64) float m[BLOCK], v[BLOCK];
  decode_wide(signs, codes1, *scale1, m);
  decode_wide(squares, codes2, *scale2, v);
  step(s, BLOCK, p, g, m, v, scale1, scale2);
  encode_wide(signs, m, *scale1, codes1);
  encode_wide(squares, v, *scale2, codes2);
}
#endif

auto best() {
#ifdef X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return avx2;
#endif
  return plain;
}

} // namespace

extern "C" {

// The 256 numbers of a moment, `sign`ed or not, in ascending order.
void rlhf_adamw8_numbers(int sign, float *to) {
  const Table t(sign != 0);
  memcpy(to, t.value, sizeof(t.value));
}

// The code of 0: what moments are before the first step.
int rlhf_adamw8_zero(int sign) { return Table(sign != 0).zero; }

// One step of n values, the `done`-th from 1 on. Scales: one for each 256 codes.
void rlhf_adamw8(int64_t n, float *p, const float *g, uint8_t *codes1, float *scale1, uint8_t *codes2, float *scale2, double done, double lr, double beta1, double beta2,
                 double weight_decay, double eps, double grad_scale, int threads) {
  static const Table signs(true), squares(false);
  static const auto block = best();
  const Step s{float(1.0 - lr * weight_decay), float(lr / (1.0 - pow(beta1, done))), float(beta1), float(beta2), float(1.0 / sqrt(1.0 - pow(beta2, done))), float(eps),
               float(1.0 / grad_scale)};
  const int64_t blocks = (n + BLOCK - 1) / BLOCK;
  if (n < 65536) threads = 1; // starting threads takes as long
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t at = b * BLOCK, many = n - at < BLOCK ? n - at : BLOCK;
    block(signs, squares, s, many, p + at, g + at, codes1 + at, scale1 + b, codes2 + at, scale2 + b);
  }
}

} // extern "C"

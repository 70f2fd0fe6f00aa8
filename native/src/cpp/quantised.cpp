// Products with weights of eight or four bits, y = x·Wᵀ + b, for generation. Plain C++ on raw memory, no torch headers. Built with -O3 -fopenmp; the inner
// loop stands three times, for AVX-512, for AVX2 and in plain C++, and is chosen when it is called.
//
// Weights are ggml's: 32 along a row share a scale d (float16); q8_0 is d·q with q from -127 to 127, q4_0 is d·(q − 8) with q from 0 to 15. A row of x is
// rounded, 32 numbers at a time, to whole numbers of sixteen bits: e = max|x| / 32767, p = round(x / e), so that Σ q·p over a block is exact in 32 bits
// (at most 32 · 127 · 32767 < 2^27) and y = Σ over blocks of d·e · Σ q·p, added up in float32 from the first block to the last. Nothing of it depends on the
// other rows of x or on the number of threads.
//
// Layout: sixteen rows stand together, and of them block after block. A block's values of q8_0 are 16 pairs of places, of each pair 16 rows of 2 bytes: 512
// bytes. Of q4_0 they are 4 times 8 places, of each 16 rows of 2 words of 16 bits: bits 4i to 4i + 3 of word h are place 8c + 2i + h: 256 bytes. Scales are
// apart, 16 a block. Rows that fill up the last sixteen are zero.

#include "half.h"

#include <cstdint>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#define X86 1
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx2,fma,f16c")))
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int64_t BLOCK = 32, ROWS = 16; // places that share a scale, rows that stand together
constexpr int64_t AT_ONCE = 64;          // rows of x that meet all of W before the next ones do: they stay in the second-level cache

// Rows of x in whole numbers.
struct Rounded {
  int16_t *p;    // [m, k]
  float *scale;  // [m, k / 32]
  int32_t *sum;  // [m, k / 32]: Σ p of the block
};

// One row. Where a block is not finite its scale is NaN, and so is every result.
INLINE void round_row(const float *x, int64_t k, int16_t *p, float *scale, int32_t *sum) {
  for (int64_t b = 0; b < k / BLOCK; ++b, x += BLOCK, p += BLOCK) {
    float most = 0.0f, whole = 0.0f;
    for (int64_t i = 0; i < BLOCK; ++i) {
      const float a = __builtin_fabsf(x[i]);
      most = a > most ? a : most;
      whole += a * 0.0f; // NaN where one is not finite
    }
    const float to = most > 0.0f ? 32767.0f / most : 0.0f;
    if (!(whole == 0.0f) || !(to <= 3.4028234e38f)) { // not finite; or all so small that 1 / e is not, and 0 is as good
      scale[b] = whole == 0.0f ? 0.0f : whole;
      sum[b] = 0;
      memset(p, 0, BLOCK * sizeof(int16_t));
      continue;
    }
    int32_t total = 0;
    for (int64_t i = 0; i < BLOCK; ++i) {
      const float v = x[i] * to; // within ±32767.01
      int32_t q = int32_t(v + (v < 0.0f ? -0.5f : 0.5f));
      q = q > 32767 ? 32767 : q < -32767 ? -32767 : q;
      p[i] = int16_t(q);
      total += q;
    }
    scale[b] = most / 32767.0f;
    sum[b] = total;
  }
}

// Sums of one group of sixteen rows with M rows of x, `out` [M, 16].
struct Group {
  const uint8_t *values;
  const uint16_t *scales;
  int64_t blocks;
};

template <bool FOUR> struct Sizes {
  static constexpr int64_t bytes = FOUR ? BLOCK * ROWS / 2 : BLOCK * ROWS; // of a block's values
};

template <bool FOUR> void plain(const Group &g, const Rounded &x, int64_t k, int64_t m, float *out) {
  for (int64_t r = 0; r < m; ++r, out += ROWS) {
    for (int64_t n = 0; n < ROWS; ++n) out[n] = 0.0f;
    for (int64_t b = 0; b < g.blocks; ++b) {
      const uint8_t *w = g.values + b * Sizes<FOUR>::bytes;
      const int16_t *p = x.p + r * k + b * BLOCK;
      int32_t sums[ROWS];
      for (int64_t n = 0; n < ROWS; ++n) sums[n] = FOUR ? -8 * x.sum[r * g.blocks + b] : 0;
      if (FOUR) {
        for (int64_t c = 0; c < 4; ++c)
          for (int64_t n = 0; n < ROWS; ++n) {
            const uint8_t *at = w + c * 4 * ROWS + n * 4;
            const uint32_t words[2] = {uint32_t(at[0]) | uint32_t(at[1]) << 8, uint32_t(at[2]) | uint32_t(at[3]) << 8};
            for (int64_t i = 0; i < 4; ++i)
              for (int64_t h = 0; h < 2; ++h) sums[n] += int32_t(words[h] >> 4 * i & 15) * p[8 * c + 2 * i + h];
          }
      } else {
        for (int64_t j = 0; j < BLOCK / 2; ++j)
          for (int64_t n = 0; n < ROWS; ++n) {
            const uint8_t *at = w + j * 2 * ROWS + n * 2;
            sums[n] += int32_t(int8_t(at[0])) * p[2 * j] + int32_t(int8_t(at[1])) * p[2 * j + 1];
          }
      }
      const float e = x.scale[r * g.blocks + b];
      for (int64_t n = 0; n < ROWS; ++n) out[n] += from_half(g.scales[b * ROWS + n]) * e * float(sums[n]);
    }
  }
}

#ifdef X86

INLINE int32_t pair(const int16_t *p) {
  int32_t both;
  memcpy(&both, p, 4);
  return both;
}

template <bool FOUR, int M> AVX2 void avx2(const Group &g, const Rounded &x, int64_t k, float *out) {
  __m256 total[M][2];
  for (int r = 0; r < M; ++r) total[r][0] = total[r][1] = _mm256_setzero_ps();
  const __m256i low = _mm256_set1_epi16(15);
  for (int64_t b = 0; b < g.blocks; ++b) {
    const uint8_t *w = g.values + b * Sizes<FOUR>::bytes;
    const int16_t *p = x.p + b * BLOCK;
    __m256i sums[M][2];
#pragma GCC unroll 4
    for (int r = 0; r < M; ++r) sums[r][0] = sums[r][1] = FOUR ? _mm256_set1_epi32(-8 * x.sum[r * g.blocks + b]) : _mm256_setzero_si256();
    if constexpr (FOUR) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(w + 64 * c)), z = _mm256_loadu_si256((const __m256i *)(w + 64 * c + 32));
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const __m256i wa = i < 3 ? _mm256_and_si256(a, low) : a, wz = i < 3 ? _mm256_and_si256(z, low) : z;
          a = _mm256_srli_epi16(a, 4), z = _mm256_srli_epi16(z, 4);
#pragma GCC unroll 4
          for (int r = 0; r < M; ++r) {
            const __m256i v = _mm256_set1_epi32(pair(p + r * k + 8 * c + 2 * i));
            sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(wa, v));
            sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(wz, v));
          }
        }
      }
    } else {
#pragma GCC unroll 4
      for (int j = 0; j < 16; ++j) {
        const __m256i wa = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + 32 * j)));
        const __m256i wz = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + 32 * j + 16)));
#pragma GCC unroll 4
        for (int r = 0; r < M; ++r) {
          const __m256i v = _mm256_set1_epi32(pair(p + r * k + 2 * j));
          sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_madd_epi16(wa, v));
          sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_madd_epi16(wz, v));
        }
      }
    }
    const __m256 da = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(g.scales + b * ROWS)));
    const __m256 dz = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(g.scales + b * ROWS + 8)));
#pragma GCC unroll 4
    for (int r = 0; r < M; ++r) {
      const __m256 e = _mm256_set1_ps(x.scale[r * g.blocks + b]);
      total[r][0] = _mm256_fmadd_ps(_mm256_mul_ps(da, e), _mm256_cvtepi32_ps(sums[r][0]), total[r][0]);
      total[r][1] = _mm256_fmadd_ps(_mm256_mul_ps(dz, e), _mm256_cvtepi32_ps(sums[r][1]), total[r][1]);
    }
  }
  for (int r = 0; r < M; ++r) {
    _mm256_storeu_ps(out + r * ROWS, total[r][0]);
    _mm256_storeu_ps(out + r * ROWS + 8, total[r][1]);
  }
}

template <bool FOUR, int M> AVX512 void avx512(const Group &g, const Rounded &x, int64_t k, float *out) {
  __m512 total[M];
  for (int r = 0; r < M; ++r) total[r] = _mm512_setzero_ps();
  const __m512i low = _mm512_set1_epi16(15);
  for (int64_t b = 0; b < g.blocks; ++b) {
    const uint8_t *w = g.values + b * Sizes<FOUR>::bytes;
    const int16_t *p = x.p + b * BLOCK;
    __m512i sums[M];
#pragma GCC unroll 4
    for (int r = 0; r < M; ++r) sums[r] = FOUR ? _mm512_set1_epi32(-8 * x.sum[r * g.blocks + b]) : _mm512_setzero_si512();
    if constexpr (FOUR) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        __m512i a = _mm512_loadu_si512(w + 64 * c);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const __m512i wa = i < 3 ? _mm512_and_si512(a, low) : a;
          a = _mm512_srli_epi16(a, 4);
#pragma GCC unroll 4
          for (int r = 0; r < M; ++r)
            sums[r] = _mm512_add_epi32(sums[r], _mm512_madd_epi16(wa, _mm512_set1_epi32(pair(p + r * k + 8 * c + 2 * i))));
        }
      }
    } else {
#pragma GCC unroll 4
      for (int j = 0; j < 16; ++j) {
        const __m512i wa = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(w + 32 * j)));
#pragma GCC unroll 4
        for (int r = 0; r < M; ++r) sums[r] = _mm512_add_epi32(sums[r], _mm512_madd_epi16(wa, _mm512_set1_epi32(pair(p + r * k + 2 * j))));
      }
    }
    const __m512 d = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(g.scales + b * ROWS)));
#pragma GCC unroll 4
    for (int r = 0; r < M; ++r)
      total[r] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(x.scale[r * g.blocks + b])), _mm512_cvtepi32_ps(sums[r]), total[r]);
  }
  for (int r = 0; r < M; ++r) _mm512_storeu_ps(out + r * ROWS, total[r]);
}

#endif

// Which loop: 0 plain, 1 AVX2, 2 AVX-512.
int best() {
#ifdef X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) return 2;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) return 1;
#endif
  return 0;
}

// Up to four rows of x.
template <bool FOUR> void sums(int way, const Group &g, const Rounded &x, int64_t k, int64_t m, float *out) {
#ifdef X86
  if (way == 2) {
    switch (m) {
    case 1: return avx512<FOUR, 1>(g, x, k, out);
    case 2: return avx512<FOUR, 2>(g, x, k, out);
    case 3: return avx512<FOUR, 3>(g, x, k, out);
    default: return avx512<FOUR, 4>(g, x, k, out);
    }
  }
  if (way == 1) {
    switch (m) {
    case 1: return avx2<FOUR, 1>(g, x, k, out);
    case 2: return avx2<FOUR, 2>(g, x, k, out);
    case 3: return avx2<FOUR, 3>(g, x, k, out);
    default: return avx2<FOUR, 4>(g, x, k, out);
    }
  }
#endif
  plain<FOUR>(g, x, k, m, out);
}

} // namespace

extern "C" {

// The loops that this processor has: 0 the plain one alone, 1 AVX2 too, 2 AVX-512 too.
int rlhf_quantised_best() { return best(); }

// Rows [n, k] of ggml's blocks, q8_0 or q4_0 if `four`, in the layout above: `values` and `scales` have room for n rounded up to sixteen rows, and are zero.
void rlhf_quantised_pack(const uint8_t *blocks, int four, int64_t n, int64_t k, uint8_t *values, uint16_t *scales) {
  const int64_t per_row = k / BLOCK, one = four ? 2 + BLOCK / 2 : 2 + BLOCK, bytes = four ? Sizes<true>::bytes : Sizes<false>::bytes;
  for (int64_t row = 0; row < n; ++row)
    for (int64_t b = 0; b < per_row; ++b) {
      const uint8_t *from = blocks + (row * per_row + b) * one;
      const int64_t block = row / ROWS * per_row + b, lane = row % ROWS;
      scales[block * ROWS + lane] = uint16_t(from[0] | from[1] << 8);
      uint8_t *to = values + block * bytes;
      for (int64_t i = 0; i < BLOCK; ++i) {
        if (four) {
          const uint8_t q = i < BLOCK / 2 ? from[2 + i] & 15 : from[2 + i - BLOCK / 2] >> 4; // place i
          const int64_t c = i / 8, nibble = i % 8 / 2, h = i % 2;
          to[c * 4 * ROWS + lane * 4 + h * 2 + nibble / 2] |= uint8_t(q << nibble % 2 * 4);
        } else {
          to[i / 2 * 2 * ROWS + lane * 2 + i % 2] = from[2 + i];
        }
      }
    }
}

// y [m, n] = x [m, k] · Wᵀ + bias, of which a null is 0. `way`: one of those up to rlhf_quantised_best.
void rlhf_quantised_product(const uint8_t *values, const uint16_t *scales, int four, int64_t n, int64_t k, const float *x, int64_t m, const float *bias,
                            float *y, int way, int threads) {
  const int64_t per_row = k / BLOCK, groups = (n + ROWS - 1) / ROWS, bytes = four ? Sizes<true>::bytes : Sizes<false>::bytes;
  const int64_t room = m < AT_ONCE ? m : AT_ONCE;
  std::vector<int16_t> p(room * k);
  std::vector<float> scale(room * per_row);
  std::vector<int32_t> sum(room * per_row);
  const int64_t useful = 1 + n * k / 65536 * (m < 4 ? m : 4); // starting threads takes as long as a small product
  if (useful < threads) threads = int(useful);
  for (int64_t first = 0; first < m; first += AT_ONCE) {
    const int64_t now = m - first < AT_ONCE ? m - first : AT_ONCE;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
      for (int64_t r = 0; r < now; ++r) round_row(x + (first + r) * k, k, p.data() + r * k, scale.data() + r * per_row, sum.data() + r * per_row);
#pragma omp for schedule(static)
      for (int64_t i = 0; i < groups; ++i) {
        const Group g = {values + i * per_row * bytes, scales + i * per_row * ROWS, per_row};
        const int64_t rows = n - i * ROWS < ROWS ? n - i * ROWS : ROWS;
        float out[4 * ROWS];
        for (int64_t r = 0; r < now; r += 4) {
          const int64_t few = now - r < 4 ? now - r : 4;
          const Rounded part = {p.data() + r * k, scale.data() + r * per_row, sum.data() + r * per_row};
          four ? sums<true>(way, g, part, k, few, out) : sums<false>(way, g, part, k, few, out);
          for (int64_t j = 0; j < few; ++j)
            for (int64_t c = 0; c < rows; ++c) y[(first + r + j) * n + i * ROWS + c] = out[j * ROWS + c] + (bias ? bias[i * ROWS + c] : 0.0f);
        }
      }
    }
  }
}

} // extern "C"

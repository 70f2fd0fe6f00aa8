// Products of rows with weights of eight bits, both rounded as ggml's q8_0: 32 places share a scale, d·q with q from -127 to 127. Plain C++ on raw memory; the
// loops stand three times: in plain C++, for AVX512-VNNI, which multiplies unsigned bytes by signed ones, and for AVX2, which multiplies pairs of sixteen bits. So
// weights are kept as q + 128, and 128 · Σ q of a row's block is taken off its sums. Sums within a block are exact, sums over blocks float32 from the first to the
// last, so a row's numbers depend on that row alone.

#include "eights.h"
#include "half.h"

#include <string.h>

#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#define X86 1
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int64_t BLOCK = EIGHTS_BLOCK, TILE = EIGHTS_TILE, HALF = TILE / 2, WORDS = BLOCK / 4;

// Bytes of a row of k numbers: with AVX2 they are of sixteen bits.
int64_t bytes_of(int64_t k, int way) { return way == EIGHTS_AVX2 ? 2 * k : k; }

// A row and what belongs to its blocks.
struct Row {
  int8_t *q;
  float *scale;
  int32_t *less;
};

// Where a block is not finite its scale is NaN, and so is every result; where 127 / max is not finite all of it is as good as 0.
void round_plain(const float *x, int64_t blocks, Row to) {
  for (int64_t b = 0; b < blocks; ++b, x += BLOCK) {
    float most = 0.0f, whole = 0.0f;
    for (int64_t i = 0; i < BLOCK; ++i) {
      const float a = __builtin_fabsf(x[i]);
      most = a > most ? a : most;
      whole += a * 0.0f;
    }
    const float by = most > 0.0f ? 127.0f / most : 0.0f;
    const bool fine = whole == 0.0f && by <= 3.4028234e38f;
    int32_t sum = 0;
    for (int64_t i = 0; i < BLOCK; ++i) {
      const int32_t q = fine ? int32_t(__builtin_rintf(x[i] * by)) : 0;
      to.q[b * BLOCK + i] = int8_t(q);
      sum += q;
    }
    to.scale[b] = fine ? most / 127.0f : whole == 0.0f ? 0.0f : whole;
    to.less[b] = -128 * sum;
  }
}

// One half of a tile.
struct Half {
  const uint8_t *values;
  const uint16_t *scales;
};

void sums_plain(Half w, int64_t blocks, Row x, float *c) {
  for (int64_t j = 0; j < HALF; ++j) c[j] = 0.0f;
  for (int64_t b = 0; b < blocks; ++b, w.values += BLOCK * HALF, w.scales += HALF)
    for (int64_t j = 0; j < HALF; ++j) {
      int32_t sum = x.less[b];
      for (int64_t i = 0; i < BLOCK; ++i) sum += int32_t(w.values[(i / 4 * HALF + j) * 4 + i % 4]) * x.q[b * BLOCK + i];
      c[j] += from_half(w.scales[j]) * x.scale[b] * float(sum);
    }
}

#ifdef X86

template <class Number> INLINE int32_t word(const Number *p) {
  int32_t four;
  memcpy(&four, p, 4);
  return four;
}

AVX2 void round_avx2(const float *x, int64_t blocks, Row to) {
  const __m256 sign = _mm256_set1_ps(-0.0f), nothing = _mm256_setzero_ps();
  for (int64_t b = 0; b < blocks; ++b, x += BLOCK) {
    __m256 most = nothing, whole = nothing;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256 a = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 8 * i));
      most = _mm256_max_ps(most, a);
      whole = _mm256_fmadd_ps(a, nothing, whole);
    }
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    const float largest = _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
    const float by = largest > 0.0f ? 127.0f / largest : 0.0f;
    // NaN · 0 and ∞ · 0 are NaN, which is not equal to itself.
    const bool finite = !_mm256_movemask_ps(_mm256_cmp_ps(whole, whole, _CMP_UNORD_Q));
    int16_t *at = (int16_t *)to.q + b * BLOCK;
    if (__builtin_expect(!finite || !(by <= 3.4028234e38f), 0)) { // as round_plain: numbers of 0
      memset(at, 0, BLOCK * sizeof(int16_t));
      to.scale[b] = finite ? 0.0f : __builtin_nanf("");
      to.less[b] = 0;
      continue;
    }
    const __m256 factor = _mm256_set1_ps(by);
    __m256i q[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), factor));
    // Words of four numbers, each twice sixteen bits: the first and the third, then the second and the fourth.
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15, 0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
#pragma GCC unroll 2
    for (int i = 0; i < 4; i += 2) {
      const __m256i sixteen = _mm256_permute4x64_epi64(_mm256_packs_epi32(q[i], q[i + 1]), 0xd8);
      _mm256_storeu_si256((__m256i *)(at + 8 * i), _mm256_shuffle_epi8(sixteen, order));
    }
    const __m256i fours = _mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3]));
    __m128i sums = _mm_add_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
    to.scale[b] = largest / 127.0f;
    to.less[b] = -128 * _mm_cvtsi128_si32(sums);
  }
}

// Adds the products of two places of eight columns and a row. The sum stays in its register: else GCC adds others to one another first, and runs out of them.
AVX2 INLINE void add_two(__m256i &sum, __m256i weights, __m256i row) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, row));
  asm("" : "+x"(sum));
}

// R rows, `k` apart, by V times eight columns, where `w` begins; results TILE apart.
template <int R, int V> AVX2 INLINE void columns_avx2(Half w, int64_t blocks, Row x, int64_t k, float *c) {
  const __m256i low = _mm256_set1_epi16(255);
  const int16_t *row = (const int16_t *)x.q;
  __m256 total[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) total[r][v] = _mm256_setzero_ps();
  for (int64_t b = 0; b < blocks; ++b, w.values += BLOCK * HALF, w.scales += HALF, row += BLOCK) {
    __m256i sum[R][V], q[V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = _mm256_set1_epi32(x.less[r * blocks + b]);
#pragma GCC unroll 2
    for (int p = 0; p < WORDS; ++p) {
      const uint8_t *word_of = w.values + p * 4 * HALF;
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) q[v] = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(word_of + 32 * v)), low); // the first and the third place
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256i y = _mm256_set1_epi32(word(row + r * k + 4 * p));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) add_two(sum[r][v], q[v], y);
      }
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) q[v] = _mm256_srli_epi16(_mm256_loadu_si256((const __m256i *)(word_of + 32 * v)), 8); // the second and the fourth
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m256i y = _mm256_set1_epi32(word(row + r * k + 4 * p + 2));
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) add_two(sum[r][v], q[v], y);
      }
    }
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const __m256 scale = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(w.scales + 8 * v)));
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r)
        total[r][v] = _mm256_fmadd_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x.scale[r * blocks + b])), _mm256_cvtepi32_ps(sum[r][v]), total[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) _mm256_storeu_ps(c + r * TILE + 8 * v, total[r][v]);
}

// R rows, `k` apart, by one half of a tile, V times eight of its columns at a time.
template <int R, int V> AVX2 void sums_avx2(Half w, int64_t blocks, Row x, int64_t k, float *c) {
  for (int64_t j = 0; j < HALF; j += 8 * V) columns_avx2<R, V>(Half{w.values + 4 * j, w.scales + j}, blocks, x, k, c + j);
}

VNNI void round_vnni(const float *x, int64_t blocks, Row to) {
  const __m512 nothing = _mm512_setzero_ps();
  for (int64_t b = 0; b < blocks; ++b, x += BLOCK) {
    const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    const __m512 a = _mm512_abs_ps(low), z = _mm512_abs_ps(high);
    const float most = _mm512_reduce_max_ps(_mm512_max_ps(a, z));
    const float by = most > 0.0f ? 127.0f / most : 0.0f;
    // NaN · 0 and ∞ · 0 are NaN, which is not equal to itself.
    const __m512 whole = _mm512_fmadd_ps(a, nothing, _mm512_mul_ps(z, nothing));
    const bool finite = _mm512_cmp_ps_mask(whole, whole, _CMP_UNORD_Q) == 0;
    if (__builtin_expect(!finite || !(by <= 3.4028234e38f), 0)) {
      round_plain(x, 1, Row{to.q + b * BLOCK, to.scale + b, to.less + b});
      continue;
    }
    const __m512 factor = _mm512_set1_ps(by);
    const __m128i p = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(low, factor)));
    const __m128i r = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(high, factor)));
    _mm_storeu_si128((__m128i *)(to.q + b * BLOCK), p);
    _mm_storeu_si128((__m128i *)(to.q + b * BLOCK + 16), r);
    __m128i sums = _mm_dpbusd_epi32(_mm_dpbusd_epi32(_mm_setzero_si128(), _mm_set1_epi8(1), p), _mm_set1_epi8(1), r);
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0x4e));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
    to.scale[b] = most / 127.0f;
    to.less[b] = -128 * _mm_cvtsi128_si32(sums);
  }
}

// R rows, `k` apart, by one half of a tile; results TILE apart.
template <int R> VNNI void sums_vnni(Half w, int64_t blocks, Row x, int64_t k, float *c) {
  __m512 total[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) total[r][0] = total[r][1] = _mm512_setzero_ps();
  for (int64_t b = 0; b < blocks; ++b, w.values += BLOCK * HALF, w.scales += HALF) {
    __m512i sum[R][2];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = _mm512_set1_epi32(x.less[r * blocks + b]);
#pragma GCC unroll 8
    for (int p = 0; p < WORDS; ++p) {
      const __m512i a = _mm512_loadu_si512(w.values + p * 128), z = _mm512_loadu_si512(w.values + p * 128 + 64);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m512i q = _mm512_set1_epi32(word(x.q + r * k + b * BLOCK + 4 * p));
        sum[r][0] = _mm512_dpbusd_epi32(sum[r][0], a, q);
        sum[r][1] = _mm512_dpbusd_epi32(sum[r][1], z, q);
      }
    }
    const __m512 a = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)w.scales));
    const __m512 z = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(w.scales + 16)));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 e = _mm512_set1_ps(x.scale[r * blocks + b]);
      total[r][0] = _mm512_fmadd_ps(_mm512_mul_ps(a, e), _mm512_cvtepi32_ps(sum[r][0]), total[r][0]);
      total[r][1] = _mm512_fmadd_ps(_mm512_mul_ps(z, e), _mm512_cvtepi32_ps(sum[r][1]), total[r][1]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    _mm512_storeu_ps(c + r * TILE, total[r][0]);
    _mm512_storeu_ps(c + r * TILE + 16, total[r][1]);
  }
}

#endif

} // namespace

extern "C" {

int rlhf_eights_best() {
#ifdef X86
  static const bool vnni = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  return vnni ? EIGHTS_VNNI : avx2 ? EIGHTS_AVX2 : EIGHTS_PLAIN;
#else
  return EIGHTS_PLAIN;
#endif
}

void rlhf_eights_round(const float *x, int64_t k, const EightsRows *to, int64_t at) {
  const int64_t blocks = k / BLOCK;
  const Row row{to->q + at * bytes_of(k, to->way), to->scale + at * blocks, to->less + at * blocks};
  switch (to->way) {
#ifdef X86
  case EIGHTS_VNNI: return round_vnni(x, blocks, row);
  case EIGHTS_AVX2: return round_avx2(x, blocks, row);
#endif
  default: return round_plain(x, blocks, row);
  }
}

void rlhf_eights_tile(const EightsMatrix *w, int64_t tile, const EightsRows *x, int64_t first, int64_t m, float *c) {
  const int64_t k = w->k, blocks = k / BLOCK, bytes = bytes_of(k, x->way);
  for (int64_t half = 2 * tile; half < 2 * tile + 2; ++half, c += HALF) {
    const Half part{w->values + half * blocks * BLOCK * HALF, w->scales + half * blocks * HALF};
    for (int64_t i = 0, left = (m + 5) / 6, height; i < m; i += height, --left) {
      height = (m - i + left - 1) / left; // blocks of like height, at most six
      const Row row{x->q + (first + i) * bytes, x->scale + (first + i) * blocks, x->less + (first + i) * blocks};
      float *to = c + i * TILE;
      switch (x->way) {
#ifdef X86
      case EIGHTS_VNNI:
        switch (height) {
        case 6: sums_vnni<6>(part, blocks, row, k, to); break;
        case 5: sums_vnni<5>(part, blocks, row, k, to); break;
        case 4: sums_vnni<4>(part, blocks, row, k, to); break;
        case 3: sums_vnni<3>(part, blocks, row, k, to); break;
        case 2: sums_vnni<2>(part, blocks, row, k, to); break;
        default: sums_vnni<1>(part, blocks, row, k, to);
        }
        break;
      case EIGHTS_AVX2:
        switch (height) {
        case 6: sums_avx2<6, 2>(part, blocks, row, k, to); break;
        case 5: sums_avx2<5, 2>(part, blocks, row, k, to); break;
        case 4: sums_avx2<4, 2>(part, blocks, row, k, to); break;
        case 3: sums_avx2<3, 4>(part, blocks, row, k, to); break;
        case 2: sums_avx2<2, 4>(part, blocks, row, k, to); break;
        default: sums_avx2<1, 4>(part, blocks, row, k, to);
        }
        break;
#endif
      default:
        for (int64_t r = 0; r < height; ++r) sums_plain(part, blocks, Row{row.q + r * bytes, row.scale + r * blocks, row.less + r * blocks}, to + r * TILE);
      }
    }
  }
}

void rlhf_eights_pack(const uint8_t *blocks, int64_t n, int64_t k, uint8_t *values, uint16_t *scales) {
  const int64_t per_row = k / BLOCK;
  for (int64_t row = 0; row < (n + TILE - 1) / TILE * TILE; ++row)
    for (int64_t b = 0; b < per_row; ++b) {
      const int64_t at = row / HALF * per_row + b, lane = row % HALF;
      uint8_t *to = values + at * BLOCK * HALF;
      const uint8_t *from = blocks + (row * per_row + b) * (2 + BLOCK);
      if (row < n) scales[at * HALF + lane] = uint16_t(from[0] | from[1] << 8);
      for (int64_t i = 0; i < BLOCK; ++i) to[(i / 4 * HALF + lane) * 4 + i % 4] = uint8_t(128 + (row < n ? from[2 + i] : 0));
    }
}

void rlhf_eights_product(const EightsMatrix *w, const float *x, int64_t m, const float *bias, float *y, int way, int threads) {
  constexpr int64_t AT_ONCE = 96; // rows that meet all of W before the next ones do: they stay in the second-level cache
  const int64_t k = w->k, n = w->n, blocks = k / BLOCK, tiles = (n + TILE - 1) / TILE, room = m < AT_ONCE ? m : AT_ONCE;
  std::vector<int8_t> q(room * bytes_of(k, way));
  std::vector<float> scale(room * blocks);
  std::vector<int32_t> less(room * blocks);
  const EightsRows rows{q.data(), scale.data(), less.data(), way};
  const int64_t useful = 1 + n * k / 65536 * (m < 8 ? m : 8) / 4; // starting threads takes as long as a small product
  if (useful < threads) threads = int(useful);
  for (int64_t first = 0; first < m; first += AT_ONCE) {
    const int64_t now = m - first < AT_ONCE ? m - first : AT_ONCE;
#pragma omp parallel num_threads(threads)
    {
      std::vector<float> c(now * TILE);
#pragma omp for schedule(static)
      for (int64_t r = 0; r < now; ++r) rlhf_eights_round(x + (first + r) * k, k, &rows, r);
#pragma omp for schedule(static)
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t wide = n - t * TILE < TILE ? n - t * TILE : TILE;
        rlhf_eights_tile(w, t, &rows, 0, now, c.data());
        for (int64_t r = 0; r < now; ++r)
          for (int64_t j = 0; j < wide; ++j) y[(first + r) * n + t * TILE + j] = c[r * TILE + j] + (bias ? bias[t * TILE + j] : 0.0f);
      }
    }
  }
}

} // extern "C"

// Element-wise work on rows of float32 or bfloat16 that libtorch does in several passes over memory, in one. Plain C++ on raw memory, no torch
// headers. Built with -O3 -fopenmp; each function is compiled for several instruction sets and chosen when the program starts.

#include "kernels.h"
#include "numbers.h"

#include <vector>

namespace {

// e^x for x <= 0, to 2 ulp; below -87 it is e^-87, as good as 0. Cephes' expf, without branches so that it vectorises.
INLINE float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  float t = x * 1.44269504088896341f;
  int32_t n = int32_t(t - 0.5f); // x <= 0: rounds to nearest
  float k = float(n);
  float r = x - k * 0.693359375f + k * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  uint32_t bits = uint32_t(n + 127) << 23;
  float scale;
  memcpy(&scale, &bits, 4);
  return p * scale;
}

// One row of logits becomes scale * (softmax - onehot(target)); returns -log softmax[target]. `row` holds V floats of scratch.
template <class T> INLINE double cross_entropy_row(T *logits, int64_t vocab, int64_t target, float scale, float *row) {
  float largest = to_float(logits[0]);
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < vocab; ++i) {
    float x = to_float(logits[i]);
    row[i] = x;
    largest = x > largest ? x : largest;
  }
  const float at_target = row[target] - largest;
  double total = 0.0;
  for (int64_t start = 0; start < vocab; start += 4096) { // float sums of pieces, added up in double
    const int64_t end = start + 4096 < vocab ? start + 4096 : vocab;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = start; i < end; ++i) {
      float e = exp_of(row[i] - largest);
      row[i] = e;
      sum += e;
    }
    total += sum;
  }
  const float factor = float(scale / total);
  for (int64_t i = 0; i < vocab; ++i) put(logits[i], row[i] * factor);
  put(logits[target], row[target] * factor - scale);
  return __builtin_log(total) - at_target;
}

template <class T> INLINE void cross_entropy_range(T *logits, const int64_t *targets, int64_t begin, int64_t end, int64_t vocab, int64_t stride, int64_t ignore,
                                                   float scale, float *row, double *nll) {
  for (int64_t n = begin; n < end; ++n) {
    T *at = logits + n * stride;
    if (targets[n] == ignore) {
      memset(at, 0, vocab * sizeof(T));
      nll[n] = 0.0;
    } else {
      nll[n] = cross_entropy_row(at, vocab, targets[n], scale, row);
    }
  }
}

CLONES void cross_entropy_f32(float *logits, const int64_t *targets, int64_t begin, int64_t end, int64_t vocab, int64_t stride,
                              int64_t ignore, float scale, float *row, double *nll) {
  cross_entropy_range(logits, targets, begin, end, vocab, stride, ignore, scale, row, nll);
}

CLONES void cross_entropy_bf16(bf16 *logits, const int64_t *targets, int64_t begin, int64_t end, int64_t vocab, int64_t stride,
                               int64_t ignore, float scale, float *row, double *nll) {
  cross_entropy_range(logits, targets, begin, end, vocab, stride, ignore, scale, row, nll);
}

// log p of the target and the entropy of one row, p = softmax(factor · logits); and the log of the sum of exponentials. `row`: V floats of scratch.
template <class T> INLINE void token_row(const T *logits, int64_t vocab, int64_t target, float factor, float *row, float *log_prob, float *entropy, float *lse) {
  float most = to_float(logits[0]) * factor;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < vocab; ++i) {
    const float x = to_float(logits[i]) * factor;
    row[i] = x;
    most = x > most ? x : most;
  }
  double total = 0.0, weighted = 0.0;
  for (int64_t start = 0; start < vocab; start += 4096) { // float sums of pieces, added up in double
    const int64_t end = start + 4096 < vocab ? start + 4096 : vocab;
    float sum = 0.0f, inner = 0.0f;
#pragma omp simd reduction(+ : sum, inner)
    for (int64_t i = start; i < end; ++i) {
      const float x = row[i] - most, e = exp_of(x);
      sum += e;
      inner += e * x;
    }
    total += sum;
    weighted += inner;
  }
  const double log_total = __builtin_log(total);
  *log_prob = float(row[target] - most - log_total);
  *entropy = float(log_total - weighted / total);
  *lse = float(most + log_total);
}

// The gradient of one row: factor · (g · (onehot − p) − h · p · (log p + entropy)), g and h those of log p and the entropy.
template <class T> INLINE void token_row_gradient(const T *logits, int64_t vocab, int64_t target, float factor, float lse, float entropy, float g, float h, T *out) {
  const float a = factor * g, b = factor * h;
#pragma omp simd
  for (int64_t i = 0; i < vocab; ++i) {
    float x = to_float(logits[i]) * factor - lse;
    x = x > 0.0f ? 0.0f : x;
    put(out[i], -exp_of(x) * (a + b * (x + entropy)));
  }
  float x = to_float(logits[target]) * factor - lse;
  x = x > 0.0f ? 0.0f : x;
  put(out[target], a - exp_of(x) * (a + b * (x + entropy)));
}

CLONES void token_f32(const float *logits, int64_t vocab, int64_t target, float factor, float *row, float *log_prob, float *entropy, float *lse) {
  token_row(logits, vocab, target, factor, row, log_prob, entropy, lse);
}
CLONES void token_bf16(const bf16 *logits, int64_t vocab, int64_t target, float factor, float *row, float *log_prob, float *entropy, float *lse) {
  token_row(logits, vocab, target, factor, row, log_prob, entropy, lse);
}
CLONES void token_gradient_f32(const float *logits, int64_t vocab, int64_t target, float factor, float lse, float entropy, float g, float h, float *out) {
  token_row_gradient(logits, vocab, target, factor, lse, entropy, g, h, out);
}
CLONES void token_gradient_bf16(const bf16 *logits, int64_t vocab, int64_t target, float factor, float lse, float entropy, float g, float h, bf16 *out) {
  token_row_gradient(logits, vocab, target, factor, lse, entropy, g, h, out);
}

// One row becomes e^(factor · (x − largest)); `runs`: the sums of 256 numbers at a time.
CLONES void exponentials_f32(float *row, int64_t n, float factor, float *runs) {
  float most = row[0];
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < n; ++i) most = row[i] > most ? row[i] : most;
  for (int64_t start = 0; start < n; start += 256) {
    const int64_t end = start + 256 < n ? start + 256 : n;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = start; i < end; ++i) {
      const float e = exp_of((row[i] - most) * factor);
      row[i] = e;
      sum += e;
    }
    runs[start / 256] = sum;
  }
}

} // namespace

extern "C" {

// Logits [rows, vocab], rows `stride` elements apart, float32 or bfloat16, become scale times the gradient of the summed nll. Rows with the target `ignore` become 0.
// Returns the sum of nll: rows are added in their order, whatever the number of threads.
double rlhf_cross_entropy(void *logits, int is_bf16, const int64_t *targets, int64_t rows, int64_t vocab, int64_t stride, int64_t ignore,
                          float scale, int threads) {
  std::vector<double> nll(rows);
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> row(vocab);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < rows; ++n) {
      if (is_bf16)
        cross_entropy_bf16(static_cast<bf16 *>(logits), targets, n, n + 1, vocab, stride, ignore, scale, row.data(), nll.data());
      else
        cross_entropy_f32(static_cast<float *>(logits), targets, n, n + 1, vocab, stride, ignore, scale, row.data(), nll.data());
    }
  }
  double sum = 0.0;
  for (double x : nll) sum += x;
  return sum;
}

// Rows [rows, n] become e^(factor · (x − the row's largest)); `runs` [rows, ⌈n / 256⌉] are the sums of 256 of them at a time.
void rlhf_exponentials(float *x, int64_t rows, int64_t n, float factor, float *runs, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < rows; ++i) exponentials_f32(x + i * n, n, factor, runs + i * ((n + 255) / 256));
}

void rlhf_tokens(const Tokens *t, int threads) {
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> row(t->vocab);
#pragma omp for schedule(static)
    for (int64_t n = 0; n < t->rows; ++n) {
      if (t->is_bf16)
        token_bf16((const bf16 *)t->logits + n * t->vocab, t->vocab, t->targets[n], t->factor, row.data(), t->log_prob + n, t->entropy + n, t->lse + n);
      else
        token_f32((const float *)t->logits + n * t->vocab, t->vocab, t->targets[n], t->factor, row.data(), t->log_prob + n, t->entropy + n, t->lse + n);
    }
  }
}

void rlhf_tokens_backward(const Tokens *t, const float *grad_log_prob, const float *grad_entropy, void *out, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t n = 0; n < t->rows; ++n) {
    const float g = grad_log_prob ? grad_log_prob[n] : 0.0f, h = grad_entropy ? grad_entropy[n] : 0.0f;
    const int64_t at = n * t->vocab;
    if (t->is_bf16)
      token_gradient_bf16((const bf16 *)t->logits + at, t->vocab, t->targets[n], t->factor, t->lse[n], t->entropy[n], g, h, (bf16 *)out + at);
    else
      token_gradient_f32((const float *)t->logits + at, t->vocab, t->targets[n], t->factor, t->lse[n], t->entropy[n], g, h, (float *)out + at);
  }
}

} // extern "C"

// y = x̂·weight + bias, x̂ = (x − mean)·rate, rate = 1 / √(variance + eps) of each row (arXiv 1607.06450), for rows of bfloat16; and its gradients, with every sum in float32:
//   dbias = Σ dy,  dweight = Σ dy·x̂ over the rows;  dx = rate·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·weight, means over the row.
// libtorch adds dweight and dbias over the rows in bfloat16: of 4,096 rows of normal numbers 5 to 8 hundredths are wrong, and a tenth to a third of dbias where
// the mean of dy is 0.3.

#include "layer_norm.h"
#include "numbers.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

constexpr int64_t PIECE = 64; // rows that are summed together, whatever the number of threads

CLONES void forward(const LayerNorm &n, float eps, uint16_t *out, int64_t begin, int64_t end) {
  const int64_t width = n.width;
  for (int64_t r = begin; r < end; ++r) {
    const bf16 *x = n.x + r * width;
    bf16 *y = out + r * width;
    float sum = 0.0f, squares = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += to_float(x[i]);
    const float mean = sum / float(width);
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < width; ++i) {
      const float d = to_float(x[i]) - mean;
      squares += d * d;
    }
    const float rate = 1.0f / std::sqrt(squares / float(width) + eps);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) put(y[i], (to_float(x[i]) - mean) * rate * n.weight[i] + n.bias[i]);
    n.mean[r] = mean, n.rate[r] = rate;
  }
}

// `dweight`, `dbias`: sums of these rows.
CLONES void backward(const LayerNorm &n, const bf16 *from, bf16 *to, int64_t begin, int64_t end, float *dweight, float *dbias) {
  const int64_t width = n.width;
  for (int64_t r = begin; r < end; ++r) {
    const bf16 *dy = from + r * width, *x = n.x + r * width;
    bf16 *dx = to + r * width;
    const float mean = n.mean[r], rate = n.rate[r], *weight = n.weight;
    float sum = 0.0f, along = 0.0f;
#pragma omp simd reduction(+ : sum, along)
    for (int64_t i = 0; i < width; ++i) {
      const float d = to_float(dy[i]), unit = (to_float(x[i]) - mean) * rate, g = d * weight[i];
      dbias[i] += d;
      dweight[i] += d * unit;
      sum += g;
      along += g * unit;
    }
    sum /= float(width), along /= float(width);
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) {
      const float unit = (to_float(x[i]) - mean) * rate;
      put(dx[i], rate * (to_float(dy[i]) * weight[i] - sum - unit * along));
    }
  }
}

} // namespace

extern "C" {

void rlhf_layer_norm_forward(const LayerNorm *n, float eps, uint16_t *y, int threads) {
  const int64_t pieces = (n->rows + PIECE - 1) / PIECE;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t p = 0; p < pieces; ++p) forward(*n, eps, y, p * PIECE, std::min((p + 1) * PIECE, n->rows));
}

void rlhf_layer_norm_backward(const LayerNorm *n, const uint16_t *dy, uint16_t *dx, float *dweight, float *dbias, int threads) {
  const int64_t pieces = (n->rows + PIECE - 1) / PIECE, width = n->width;
  std::vector<float> sums(pieces * 2 * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t p = 0; p < pieces; ++p) {
    float *own = sums.data() + p * 2 * width;
    backward(*n, dy, dx, p * PIECE, std::min((p + 1) * PIECE, n->rows), own, own + width);
  }
  memset(dweight, 0, width * sizeof(float));
  memset(dbias, 0, width * sizeof(float));
  for (int64_t p = 0; p < pieces; ++p) {
    const float *own = sums.data() + p * 2 * width;
    for (int64_t i = 0; i < width; ++i) dweight[i] += own[i], dbias[i] += own[width + i];
  }
}

} // extern "C"

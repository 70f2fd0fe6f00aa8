// Gradients of y = x̂·weight + bias, x̂ = (x − mean)·rate of each row (arXiv 1607.06450), for rows of bfloat16, with every sum in float32:
//   dbias = Σ dy,  dweight = Σ dy·x̂ over the rows;  dx = rate·(g − mean(g) − x̂·mean(g·x̂)) with g = dy·weight, means over the row.
// libtorch adds dweight and dbias over the rows in bfloat16: of 4,096 rows of normal numbers 5 to 8 hundredths are wrong, and a tenth to a third of dbias where
// the mean of dy is 0.3.

#include "layer_norm.h"
#include "numbers.h"

#include <vector>

namespace {

constexpr int64_t PIECE = 64; // rows that are summed together, whatever the number of threads

// `dweight`, `dbias`: sums of these rows.
CLONES void piece(const LayerNorm &n, int64_t begin, int64_t end, float *dweight, float *dbias) {
  const int64_t width = n.width;
  for (int64_t r = begin; r < end; ++r) {
    const bf16 *dy = n.dy + r * width, *x = n.x + r * width;
    bf16 *dx = n.dx + r * width;
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

extern "C" void rlhf_layer_norm_backward(const LayerNorm *n, int threads) {
  const int64_t pieces = (n->rows + PIECE - 1) / PIECE, width = n->width;
  std::vector<float> sums(pieces * 2 * width);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t p = 0; p < pieces; ++p) {
    const int64_t end = (p + 1) * PIECE;
    float *own = sums.data() + p * 2 * width;
    piece(*n, p * PIECE, end < n->rows ? end : n->rows, own, own + width);
  }
  memset(n->dweight, 0, width * sizeof(float));
  memset(n->dbias, 0, width * sizeof(float));
  for (int64_t p = 0; p < pieces; ++p) {
    const float *own = sums.data() + p * 2 * width;
    for (int64_t i = 0; i < width; ++i) n->dweight[i] += own[i], n->dbias[i] += own[width + i];
  }
}

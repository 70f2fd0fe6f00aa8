// A layer norm, forward and backward: see layer_norm.cpp.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Rows of bfloat16, [rows, width]; everything else is float32.
struct LayerNorm {
  const uint16_t *x;
  const float *weight, *bias; // [width]
  int64_t rows, width;
  float *mean, *rate; // [rows]: x's mean and 1 / its deviation
};

// `eps`: added to the variance.
void rlhf_layer_norm_forward(const struct LayerNorm *norm, float eps, uint16_t *y, int threads);
// `dweight`, `dbias`: [width].
void rlhf_layer_norm_backward(const struct LayerNorm *norm, const uint16_t *dy, uint16_t *dx, float *dweight, float *dbias, int threads);

#ifdef __cplusplus
}
#endif

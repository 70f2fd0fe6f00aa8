// The backward pass of a layer norm: see layer_norm.cpp.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Rows of bfloat16, [rows, width]; everything else is float32.
struct LayerNorm {
  const uint16_t *dy, *x;
  const float *mean, *rate; // [rows]: x's mean and 1 / its deviation
  const float *weight;      // [width]
  uint16_t *dx;
  float *dweight, *dbias;   // [width]
  int64_t rows, width;
};

void rlhf_layer_norm_backward(const struct LayerNorm *norm, int threads);

#ifdef __cplusplus
}
#endif

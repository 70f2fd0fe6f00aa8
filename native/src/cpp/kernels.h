// Log-probabilities of tokens: see kernels.cpp.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Of each row: log p[target], entropy of p, and log Σ exp, with p = softmax(factor · logits).
struct Tokens {
  const void *logits; // [rows, vocab], float32 or bfloat16
  int is_bf16;
  const int64_t *targets;
  int64_t rows, vocab;
  float factor;
  float *log_prob, *entropy, *lse; // [rows]
};

void rlhf_tokens(const struct Tokens *tokens, int threads);

// `out`: the gradient of the logits, of their type. A gradient that is null is 0. entropy and lse: as rlhf_tokens left them.
void rlhf_tokens_backward(const struct Tokens *tokens, const float *grad_log_prob, const float *grad_entropy, void *out, int threads);

#ifdef __cplusplus
}
#endif

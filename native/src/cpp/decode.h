// A transformer's forward pass over tokens whose predecessors' keys and values stand in a cache: see decode.cpp.
#pragma once

#include "eights.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// weight null: none; bias null: by the root of the mean square, else by mean and variance.
struct DecodeNorm {
  const float *weight, *bias;
  float eps;
};

// A packed matrix [k, n] (matmul.h), or one of eight bits. words and eights.values null: none.
struct DecodeLinear {
  const uint32_t *words;
  const float *bias;
  int64_t k, n;
  struct EightsMatrix eights;
};

struct DecodeBlock {
  struct DecodeNorm norm1, norm2, q_norm, k_norm;
  struct DecodeLinear qkv[3]; // one matrix, or three
  struct DecodeLinear out, gate, up, down;
  float scale;    // on the scores
  int64_t window; // tokens that a token sees, itself among them; 0 for all
};

struct Decode {
  const struct DecodeBlock *blocks;
  int64_t layers, width, heads, kv_heads, head; // head: features of one, even
  int64_t turning;                              // features that rotary positions turn, 0 for none
  int by_head;                                  // of one matrix qkv: query, key and value of the first head, then of the second
  int parallel;                                 // both branches of a block read the same
  int activation;
  const float *embedding, *positions; // [V, width]; [context, width] or null
  struct DecodeNorm norm;
  struct DecodeLinear logits;

  // Layer by layer keys then values, and in those `slots` sequences of kv_heads heads of decode_words(columns, head, per) words. Written here, read here.
  uint32_t *cache;
  int64_t slots, columns; // columns: places of a sequence, a multiple of 16

  // Tokens of any sequences; those of one stand in the order of their places, and the places before the first are in the cache.
  int64_t tokens;
  const int64_t *ids, *slot, *place;
  const float *cos, *sin; // [tokens, turning / 2]

  int64_t wanted; // tokens whose logits are asked for
  const int64_t *rows;
  float *out; // [wanted, V]
};

// Words of one head's keys, or values, of a sequence. `per`: numbers of a word.
static inline int64_t decode_words(int64_t columns, int64_t head, int64_t per) { return columns / per * ((head + 15) / 16 * 16); }

#ifdef __cplusplus
}
#endif

// Causal attention over packed sequences: see attention.cpp.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Heads of one kind within rows of activations: feature c of head h of token n is at[n · row + h · head + c].
struct Heads {
  void *at;
  int64_t row, head;
};

// Tokens n stand one after another. A segment is a run of them; a group is a segment that stands alone, followed by any number of branches that all
// continue it: a branch's token sees the group's first segment and, of its own, everything up to itself.
struct Attention {
  struct Heads q, k, v;
  int64_t heads, kv_heads, width; // width: features of a head, even
  int64_t tokens;
  int64_t turning;                // features that rotary positions turn, 0 for none
  const float *cos, *sin;         // [tokens, turning / 2]
  float scale;
  int64_t window;                 // tokens that a token sees, itself among them; 0 for all
  int64_t groups;
  const int64_t *bounds;          // [groups + 1] into segments
  const int64_t *segments;        // first token of each, and the end of the last
  struct Heads out;
  float *lse;                     // [heads, tokens]: log of the sum of the exponentials
  // Backward only: `out` holds the result of the forward pass.
  struct Heads grad_out, dq, dk, dv;
};

#ifdef __cplusplus
}
#endif

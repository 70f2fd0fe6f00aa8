// Which of the kernels for float32 this processor can run. Built without the instructions that it asks about.

#include "rows.h"

#include <stdlib.h>
#include <string.h>

// RLHF_F32_VECTORS=256: those for AVX2 where there is AVX-512 too, for tests of both in one place.
extern "C" const Kernels *rlhf_f32_kernels() {
#ifdef __x86_64__
  static const bool wide = [] {
    const char *wish = getenv("RLHF_F32_VECTORS");
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && !(wish && strcmp(wish, "256") == 0);
  }();
  if (wide) return &rlhf_f32_avx512_kernels;
#endif
  return &rlhf_f32_avx2_kernels;
}

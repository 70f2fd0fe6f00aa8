// What the kernels in plain C++ share: numbers of float32 and bfloat16, and functions that are compiled for several instruction sets and chosen when the program
// starts. No torch headers.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

using bf16 = uint16_t; // the upper half of a float32

INLINE float to_float(float x) { return x; }
INLINE float to_float(bf16 x) {
  uint32_t bits = uint32_t(x) << 16;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

INLINE void put(float &out, float x) { out = x; }
// Rounds to nearest, ties to even. A NaN may become another NaN or infinite; callers look at the loss, which is NaN then.
INLINE void put(bf16 &out, float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  out = bf16((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

} // namespace

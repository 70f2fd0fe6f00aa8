// What the kernels are written in: vectors of sixteen float32, and words. A word is what the kernel multiplies at once of a row: two bfloat16 that are
// neighbours (bf16.h, for AVX512-BF16, and with the tiles of AMX besides), or one float32 (f32.h, for AVX-512 and for AVX2). The same sources are compiled for each of the four (build.rs).
//
// No C++ library: what such a file would instantiate of it could be chosen by the linker for everybody else, on processors that do not know the instructions.
#pragma once

#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

namespace {

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t greatest(int64_t a, int64_t b) { return a > b ? a : b; }

} // namespace

#if RLHF_F32 == 512
#define NAMED(name) rlhf_f32_avx512_##name
#define INSTRUCTIONS "AVX-512"
#ifdef __AVX512F__
#define RLHF_KERNELS
#include "f32.h"
#endif
#elif defined(RLHF_F32)
#define NAMED(name) rlhf_f32_avx2_##name
#define INSTRUCTIONS "AVX2"
#ifdef __AVX2__
#define RLHF_KERNELS
#include "f32.h"
#endif
#else
#ifdef RLHF_AMX
#define NAMED(name) rlhf_bf16_amx_##name
#define INSTRUCTIONS "AMX"
#else
#define NAMED(name) rlhf_bf16_avx512_##name
#define INSTRUCTIONS "AVX512-BF16"
#endif
#if defined(__AVX512BF16__) || defined(RLHF_EMULATED)
#define RLHF_KERNELS
#include "bf16.h"
#endif
#endif

#ifdef RLHF_KERNELS
#include "activations.h"
#endif

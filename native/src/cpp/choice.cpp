// Which of the kernels this processor can run. Built without the instructions that it asks about.

#include "rows.h"

#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

bool wished(const char *name, const char *value) {
  const char *wish = getenv(name);
  return wish && strcmp(wish, value) == 0;
}

bool find_tiles() {
#ifdef RLHF_EMULATED
  return wished("RLHF_BF16_TILES", "1");
#elif defined(__x86_64__) && defined(__linux__)
  constexpr long request_permission = 0x1023, tile_data = 18; // Linux gives the memory that a thread's tiles are kept in to processes that ask
  return !wished("RLHF_BF16_TILES", "0") && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
         syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

} // namespace

extern "C" {

// RLHF_BF16_TILES=0: not even where there are some, for tests of both in one place.
int rlhf_has_tiles() {
  static const bool tiles = find_tiles();
  return tiles;
}

const Kernels *rlhf_bf16_kernels() { return rlhf_has_tiles() ? &rlhf_bf16_amx_kernels : &rlhf_bf16_avx512_kernels; }

// RLHF_F32_VECTORS=256: those for AVX2 where there is AVX-512 too, for the same reason.
const Kernels *rlhf_f32_kernels() {
#ifdef __x86_64__
  static const bool wide = !wished("RLHF_F32_VECTORS", "256") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (wide) return &rlhf_f32_avx512_kernels;
#endif
  return &rlhf_f32_avx2_kernels;
}

} // extern "C"

// What c10d.cpp and sharded.cpp share.
#pragma once

#include "guarded.h"

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include <vector>

using Tensors = std::vector<at::Tensor>;
using GroupPtr = c10::intrusive_ptr<c10d::ProcessGroup>;

// Tensors are reference-counted handles: copying them into a vector copies no data.
static inline Tensors list(const at::Tensor *const *tensors, size_t n) {
  Tensors out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

// The group that rlhf_group_join made. What the reducer and the collectives go through; it has a backend for each kind of device.
static inline GroupPtr &group_of(void *handle) { return *static_cast<GroupPtr *>(handle); }

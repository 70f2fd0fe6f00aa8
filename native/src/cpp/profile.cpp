// libtorch's own profiler (Kineto): named ranges, and every operator call with its time, memory and floating-point operations.
//
// As in shim.cpp: functions return NULL or a message allocated with malloc, and no exception crosses into Rust.

#include "guarded.h"

#include <ATen/record_function.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <set>
#include <string>
#include <unordered_set>

namespace impl = torch::profiler::impl;
namespace profiler = torch::autograd::profiler;

extern "C" {

// One recorded event. kind: 0 an operator, 1 a range of ours, 2 memory taken (bytes > 0) or given back (bytes < 0).
struct rlhf_event {
  const char *name;
  uint64_t start_ns, duration_ns, thread, flops;
  int64_t bytes;
  int kind;
};

char *rlhf_profile_start(int cuda) {
  return guarded([&] {
    std::set<impl::ActivityType> activities{impl::ActivityType::CPU};
    if (cuda) activities.insert(impl::ActivityType::CUDA);
    const impl::ProfilerConfig config(impl::ProfilerState::KINETO, /*report_input_shapes=*/true, /*profile_memory=*/true, /*with_stack=*/false,
                                      /*with_flops=*/true);
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE, at::RecordScope::BACKWARD_FUNCTION});
  });
}

// Ends the profile; hands every event to `each` and writes a Chrome trace to `trace` unless that is NULL.
char *rlhf_profile_stop(const char *trace, void (*each)(void *, const rlhf_event *), void *context) {
  return guarded([&] {
    const auto result = profiler::disableProfiler();
    TORCH_CHECK(result, "no profile was running");
    for (const auto &e : result->events()) {
      const std::string name = e.name();
      const bool memory = name == "[memory]", range = e.scope() == uint8_t(at::RecordScope::USER_SCOPE);
      const rlhf_event out{name.c_str(), e.startNs(), memory ? 0 : e.durationNs(), e.startThreadId(), e.flops(), e.nBytes(), memory ? 2 : range ? 1 : 0};
      each(context, &out);
    }
    if (trace) result->save(trace);
  });
}

// Begins a named range on this thread, or what the profile shows as an operator's call; NULL while no profile runs. rlhf_range_end ends it.
void *rlhf_range_begin(const char *name, int as_operator) {
  try {
    auto callbacks = at::getStepCallbacksUnlessEmpty(as_operator ? at::RecordScope::FUNCTION : at::RecordScope::USER_SCOPE);
    if (!callbacks) return nullptr;
    auto *range = new at::RecordFunction(std::move(*callbacks));
    range->before(std::string(name));
    return range;
  } catch (...) {
    return nullptr; // a range says where time goes: no reason to end a run
  }
}

void rlhf_range_end(void *range) { delete static_cast<at::RecordFunction *>(range); }

} // extern "C"

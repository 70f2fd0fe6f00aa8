// Gradients summed to their owners: what is left of DistributedDataParallel's reducer where each process keeps a part of the sums only (ZeRO-2, arXiv
// 1910.02054, section 5.2). As soon as all gradients of a bucket are there it is on its way, while earlier layers are still in their backward pass.

#include "sharded.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>

namespace {

struct Sharded {
  Exchange exchange;
  std::vector<size_t> bucket_of;
  std::vector<size_t> missing; // gradients of each bucket
  bool armed = false;

  ~Sharded() {
    for (auto &p : exchange.params) torch::autograd::impl::set_post_acc_grad_hooks(p, nullptr);
  }

  void begin() {
    missing.clear();
    for (auto &b : exchange.buckets) missing.push_back(b.params.size());
    exchange.restart();
    armed = true;
  }

  // The gradient of `param` is there. Buckets leave in one order in all processes, whatever order gradients come in.
  void ready(size_t param) {
    if (!armed) return;
    missing[bucket_of[param]] -= 1;
    while (exchange.launched < missing.size() && missing[exchange.launched] == 0) exchange.launch();
  }

  void finish() {
    armed = false;
    exchange.finish();
  }
};

struct Ready : torch::autograd::PostAccumulateGradHook {
  Sharded *sharded;
  size_t param;
  Ready(Sharded *s, size_t p) : sharded(s), param(p) {}
  void operator()(const torch::autograd::Variable &) override { sharded->ready(param); }
};

} // namespace

extern "C" {

// Parameter i lies in bucket buckets[i] from value begins[i] on. `sums` has a tensor for each bucket, to which each backward pass adds.
char *rlhf_sharded_new(void *group, const at::Tensor *const *params, const size_t *buckets, const int64_t *begins, size_t n,
                       const at::Tensor *const *sums, size_t n_buckets, void **out) {
  return guarded([&] {
    auto made = std::unique_ptr<Sharded>(new Sharded{Exchange(group_of(group), list(params, n), buckets, begins, list(sums, n_buckets))});
    made->bucket_of.assign(buckets, buckets + n);
    for (size_t i = 0; i < n; ++i)
      torch::autograd::impl::set_post_acc_grad_hooks(made->exchange.params[i], std::make_unique<Ready>(made.get(), i));
    *out = made.release();
  });
}

// From here to rlhf_sharded_finish lies one backward pass, or none: then this process only adds to the others' sums what it has accumulated.
char *rlhf_sharded_begin(void *sharded) {
  return guarded([&] { static_cast<Sharded *>(sharded)->begin(); });
}

// Waits until this process's sums are whole.
char *rlhf_sharded_finish(void *sharded) {
  return guarded([&] { static_cast<Sharded *>(sharded)->finish(); });
}

void rlhf_sharded_free(void *sharded) noexcept {
  try {
    delete static_cast<Sharded *>(sharded);
  } catch (...) { // as of the reducer
  }
}

} // extern "C"

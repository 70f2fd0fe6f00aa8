// Gradients summed to their owners: what is left of DistributedDataParallel's reducer where each process keeps a part of the sums only (ZeRO-2, arXiv
// 1910.02054, section 5.2).
//
// Parameters lie in buckets, a bucket in as many equal parts as there are processes. As soon as all gradients of a bucket are there, its parts travel to
// their owners (all to all: with N processes each sends (N-1)/N of a bucket, where Gloo's own reduce-scatter would send all of it), which add them up in
// the order of ranks, while earlier layers are still in their backward pass. The gradients themselves are given up.

#include "c10d.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <memory>

namespace {

// Buckets on their way at a time: each costs twice its size.
constexpr size_t IN_FLIGHT = 2;

struct Bucket {
  std::vector<size_t> params;
  at::Tensor sum; // [part], this process's
  size_t missing = 0;
  at::Tensor sent, received; // [size * part]
  c10::intrusive_ptr<c10d::Work> work;
};

struct Sharded {
  GroupPtr group;
  Tensors params;
  std::vector<int64_t> begins; // of each parameter in its bucket
  std::vector<size_t> bucket_of;
  std::vector<Bucket> buckets;
  bool armed = false;
  size_t launched = 0, settled = 0;

  ~Sharded() {
    for (auto &p : params) torch::autograd::impl::set_post_acc_grad_hooks(p, nullptr);
  }

  void begin() {
    for (auto &b : buckets) b.missing = b.params.size();
    launched = settled = 0;
    armed = true;
  }

  // The gradient of `param` is there. Buckets leave in one order in all processes, whatever order gradients come in.
  void ready(size_t param) {
    if (!armed) return;
    buckets[bucket_of[param]].missing -= 1;
    while (launched < buckets.size() && buckets[launched].missing == 0) launch();
  }

  void launch() {
    if (launched - settled == IN_FLIGHT) settle();
    c10::AutoGradMode no_grad(false);
    auto &b = buckets[launched++];
    const int64_t part = b.sum.numel();
    b.sent = at::zeros({part * group->getSize()}, b.sum.options());
    for (size_t p : b.params) {
      auto &grad = params[p].mutable_grad();
      if (!grad.defined()) continue;
      b.sent.narrow(0, begins[p], grad.numel()).view(grad.sizes()).copy_(grad);
      grad.reset();
    }
    b.received = at::empty_like(b.sent);
    std::vector<int64_t> equal_parts;
    b.work = group->all_to_all_single(b.received, b.sent, equal_parts, equal_parts);
  }

  void settle() {
    c10::AutoGradMode no_grad(false);
    auto &b = buckets[settled++];
    b.work->wait();
    const int64_t part = b.sum.numel();
    for (int64_t r = 0; r < group->getSize(); ++r) b.sum.add_(b.received.narrow(0, r * part, part));
    b.sent.reset(), b.received.reset(), b.work.reset();
  }

  void finish() {
    armed = false;
    while (launched < buckets.size()) launch(); // what no gradient reached counts as zero
    while (settled < buckets.size()) settle();
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
    auto made = std::make_unique<Sharded>();
    made->group = group_of(group);
    made->buckets.resize(n_buckets);
    for (size_t b = 0; b < n_buckets; ++b) made->buckets[b].sum = *sums[b];
    made->begins.assign(begins, begins + n);
    made->bucket_of.assign(buckets, buckets + n);
    for (size_t i = 0; i < n; ++i) made->buckets.at(buckets[i]).params.push_back(i);
    for (auto &p : list(params, n)) {
      made->params.push_back(p);
      torch::autograd::impl::set_post_acc_grad_hooks(p, std::make_unique<Ready>(made.get(), made->params.size() - 1));
    }
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

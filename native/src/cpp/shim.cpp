// The parts of libtorch that tch does not bind, behind C functions.
//
// Tensors come in as pointers to at::Tensor, which is what tch::Tensor::as_ptr() gives. Every function returns NULL, or a
// message allocated with malloc that the caller frees: no C++ exception crosses into Rust.

#include "guarded.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/GradMode.h>

#include <sys/mman.h>

#include <vector>

namespace {

// Tensors are reference-counted handles: copying them into a vector copies no data.
std::vector<at::Tensor> list(const at::Tensor *const *tensors, size_t n) {
  std::vector<at::Tensor> out;
  out.reserve(n);
  for (size_t i = 0; i < n; ++i) out.push_back(*tensors[i]);
  return out;
}

template <class Body> char *without_autograd(Body body) noexcept {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    body();
  });
}

// Strides of dimensions of one place say nothing: autograd's may be others than the parameter's.
bool same_layout(const at::Tensor &a, const at::Tensor &b) {
  if (a.sizes() != b.sizes()) return false;
  for (int64_t d = 0; d < a.dim(); ++d)
    if (a.size(d) != 1 && a.stride(d) != b.stride(d)) return false;
  return true;
}

// The kernel walks raw memory and checks nothing: same shape, layout, type and device, or an error.
void check_like(const std::vector<at::Tensor> &params, const std::vector<at::Tensor> &others, const char *what) {
  for (size_t i = 0; i < params.size(); ++i) {
    const auto &p = params[i], &o = others[i];
    TORCH_CHECK(p.is_non_overlapping_and_dense(), "parameter ", i, " is not dense");
    TORCH_CHECK(same_layout(p, o), what, "[", i, "] has shape ", o.sizes(), " and strides ",
                o.strides(), ", its parameter ", p.sizes(), " and ", p.strides());
    TORCH_CHECK(p.scalar_type() == o.scalar_type() && p.device() == o.device(), what, "[", i, "] is ", o.scalar_type(), " on ",
                o.device(), ", its parameter ", p.scalar_type(), " on ", p.device());
  }
}

} // namespace

extern "C" {

// One AdamW update of n parameters, in place. steps: n float scalars, raised by one before the update.
// grads are divided by grad_scale first (and hold the divided values afterwards) unless grad_scale is 1.
char *rlhf_fused_adamw(const at::Tensor *const *params, const at::Tensor *const *grads, const at::Tensor *const *exp_avgs,
                       const at::Tensor *const *exp_avg_sqs, const at::Tensor *const *steps, size_t n, double lr, double beta1,
                       double beta2, double weight_decay, double eps, double grad_scale) {
  return without_autograd([&] {
    if (n == 0) return;
    auto state_steps = list(steps, n);
    auto p = list(params, n);
    auto g = list(grads, n), m = list(exp_avgs, n), v = list(exp_avg_sqs, n);
    check_like(p, g, "grads");
    check_like(p, m, "exp_avgs");
    check_like(p, v, "exp_avg_sqs");
    for (size_t i = 0; i < n; ++i)
      TORCH_CHECK(state_steps[i].numel() == 1 && state_steps[i].scalar_type() == at::kFloat, "steps[", i, "] is not one float32");
    std::optional<at::Tensor> scale;
    if (grad_scale != 1.0) scale = at::full({1}, grad_scale, p[0].options().dtype(at::kFloat).requires_grad(false));
    for (auto &step : state_steps) step.add_(1);
    at::_fused_adamw_(p, g, m, v, {}, state_steps, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false, scale,
                      std::nullopt);
  });
}

// Zeros like a tensor that last as long as it: large ones on the CPU in memory of their own, whose pages come to be when they are written. Among tensors that come
// and go they would cut the room of those into pieces.
char *rlhf_lasting_zeros(const at::Tensor *like, at::Tensor **out) {
  return without_autograd([&] {
    const size_t bytes = like->nbytes();
    if (!like->is_cpu() || bytes < size_t(1) << 20 || !like->is_non_overlapping_and_dense()) {
      *out = new at::Tensor(at::zeros_like(*like));
      return;
    }
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(at != MAP_FAILED, "out of memory: ", bytes, " bytes");
#ifdef MADV_HUGEPAGE
    madvise(at, bytes, MADV_HUGEPAGE);
#endif
    *out = new at::Tensor(at::from_blob(at, like->sizes(), like->strides(), [bytes](void *p) { munmap(p, bytes); }, like->options().requires_grad(false)));
  });
}

// L2 norm over all elements of all tensors.
char *rlhf_global_norm(const at::Tensor *const *tensors, size_t n, double *out) {
  return without_autograd([&] {
    *out = 0.0;
    if (n == 0) return;
    auto norms = at::_foreach_norm(list(tensors, n), 2);
    *out = at::linalg_vector_norm(at::stack(norms), 2).item<double>();
  });
}

// Multiplies every tensor by factor, in place.
char *rlhf_scale(const at::Tensor *const *tensors, size_t n, double factor) {
  return without_autograd([&] {
    if (n > 0) at::_foreach_mul_(list(tensors, n), factor);
  });
}

// The gradients are undefined afterwards: the next one to come is taken as it is, not added to zeros.
char *rlhf_drop_gradients(const at::Tensor *const *tensors, size_t n) {
  return guarded([&] {
    for (size_t i = 0; i < n; ++i) tensors[i]->mutable_grad().reset();
  });
}

} // extern "C"

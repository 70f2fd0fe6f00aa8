// Gradients that were worked out outside of autograd, brought into its graph.

#include "guarded.h"

#include <ATen/core/ivalue.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/custom_function.h>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

struct Held : torch::CustomClassHolder {
  variable_list gradients;
  explicit Held(variable_list gradients) : gradients(std::move(gradients)) {}
};

struct Carry : Function<Carry> {
  static Tensor forward(AutogradContext *ctx, at::TensorList to, const c10::intrusive_ptr<Held> &held) {
    ctx->saved_data["held"] = c10::IValue::make_capsule(held);
    return at::zeros({}, to[0].options().dtype(at::kFloat).requires_grad(false));
  }

  // They are given away, so that a leaf takes over the memory instead of copying it.
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto held = c10::static_intrusive_pointer_cast<Held>(ctx->saved_data["held"].toCapsule());
    variable_list out = std::move(held->gradients);
    TORCH_CHECK(!out.empty(), "gradients are carried once");
    held->gradients.clear();
    const Tensor &factor = grads[0];
    if (!factor.is_cpu() || factor.item<float>() != 1.0f)
      for (Tensor &g : out) g = g.mul(factor).to(g.scalar_type());
    out.emplace_back();
    return out;
  }
};

} // namespace

extern "C" {

// A scalar 0 whose backward pass gives gradients[i] to to[i].
char *rlhf_carry(const Tensor *const *to, const Tensor *const *gradients, size_t n, Tensor **out) {
  return guarded([&] {
    variable_list list, held;
    for (size_t i = 0; i < n; ++i) {
      TORCH_CHECK(to[i]->sizes() == gradients[i]->sizes(), "a gradient of ", gradients[i]->sizes(), " for ", to[i]->sizes());
      list.push_back(*to[i]);
      held.push_back(*gradients[i]);
    }
    TORCH_CHECK(n > 0, "no gradients");
    *out = new Tensor(Carry::apply(at::TensorList(list), c10::make_intrusive<Held>(std::move(held))));
  });
}

} // extern "C"

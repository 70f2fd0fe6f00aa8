// Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): a part of a network keeps its input only; the backward pass works the part out again
// and goes back through it at once.

#include "guarded.h"

#include <ATen/Context.h>
#include <ATen/core/Generator.h>
#include <ATen/core/ivalue.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <mutex>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

// A closure of the caller's, and the leaves it uses that learn.
struct Part : torch::CustomClassHolder {
  void *closure;
  int (*call)(void *, const Tensor *, Tensor **);
  void (*drop)(void *);
  variable_list leaves;

  Part(void *closure, int (*call)(void *, const Tensor *, Tensor **), void (*drop)(void *)) : closure(closure), call(call), drop(drop) {}
  ~Part() override { drop(closure); }

  Tensor operator()(const Tensor &x) {
    Tensor *made = nullptr;
    TORCH_CHECK(call(closure, &x, &made) == 0 && made, "the recomputed part of the network panicked");
    const std::unique_ptr<Tensor> owned(made);
    return *owned;
  }
};

// Puts a random generator's state there and what was back at the end.
struct Draws {
  at::Generator generator;
  Tensor before;

  Draws(c10::Device device, const Tensor &state) : generator(at::globalContext().defaultGenerator(device)) {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    before = generator.get_state();
    generator.set_state(state);
  }
  ~Draws() {
    const std::lock_guard<std::mutex> lock(generator.mutex());
    generator.set_state(before);
  }
};

struct Recompute : Function<Recompute> {
  static Tensor forward(AutogradContext *ctx, const Tensor &x, at::TensorList, const c10::intrusive_ptr<torch::CustomClassHolder> &part, bool draws) {
    if (draws) {
      at::Generator generator = at::globalContext().defaultGenerator(x.device());
      const std::lock_guard<std::mutex> lock(generator.mutex());
      ctx->saved_data["draws"] = generator.get_state();
    }
    ctx->saved_data["part"] = at::IValue::make_capsule(part);
    ctx->save_for_backward({x});
    return (*static_cast<Part *>(part.get()))(x); // without autograd: nothing is kept of it
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto held = ctx->saved_data["part"].toCapsule();
    auto &part = *static_cast<Part *>(held.get());
    const bool for_x = ctx->needs_input_grad(0);
    const Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(for_x);
    std::optional<Draws> draws;
    if (const auto state = ctx->saved_data.find("draws"); state != ctx->saved_data.end()) draws.emplace(x.device(), state->second.toTensor());
    Tensor y;
    {
      const at::AutoGradMode on(true);
      y = part(x);
    }
    draws.reset();
    variable_list wanted = part.leaves;
    if (for_x) wanted.push_back(x);
    variable_list found = torch::autograd::grad({y}, wanted, {grads[0]}, std::nullopt, false, /*allow_unused=*/true);
    variable_list out{for_x ? found.back() : Tensor()};
    out.insert(out.end(), found.begin(), found.begin() + static_cast<int64_t>(part.leaves.size()));
    out.resize(out.size() + 2); // of the closure and the flag
    return out;
  }
};

} // namespace

extern "C" {

// Takes over `closure`, whatever comes of it.
char *rlhf_recompute(const Tensor *x, const Tensor *const *leaves, size_t n, int draws, void *closure, int (*call)(void *, const Tensor *, Tensor **),
                     void (*drop)(void *), Tensor **out) {
  return guarded([&] {
    auto part = c10::make_intrusive<Part>(closure, call, drop);
    for (size_t i = 0; i < n; ++i) part->leaves.push_back(*leaves[i]);
    if ((n == 0 && !x->requires_grad()) || !at::GradMode::is_enabled()) {
      *out = new Tensor((*part)(*x));
      return;
    }
    const variable_list learning = part->leaves;
    *out = new Tensor(Recompute::apply(*x, at::TensorList(learning), c10::intrusive_ptr<torch::CustomClassHolder>(part), draws != 0));
  });
}

} // extern "C"

// Linear maps and MLPs with low-rank adapters (LoRA, arXiv 2106.09685): y = x·W + b + s·(z·Aᵀ)·Bᵀ, z = x or x after dropout.
//
// W and b do not learn: the backward pass works out the gradients of A [r, in], B [out, r] and x alone. The low-rank sum joins the other in the
// product's epilogue, so that nothing of [N, out] is read or written more often than without an adapter, but for that once.

#include "functions.h"

#include <ATen/ops/mul.h>

namespace {

struct Adapter {
  Tensor a, b; // float32
  double scale;
  Tensor scaled() const { return at::mul(b.detach(), scale); }
};

void check(const Adapter &p, const Tensor &w, bool in_out) {
  const int64_t in = w.size(in_out ? 0 : 1), out = w.size(in_out ? 1 : 0), r = p.a.size(0);
  TORCH_CHECK(p.a.sizes() == at::IntArrayRef({r, in}) && p.b.sizes() == at::IntArrayRef({out, r}) && r % 2 == 0, "an adapter of even rank for a map of ",
              in, " to ", out, ", not ", p.a.sizes(), " and ", p.b.sizes());
  TORCH_CHECK(p.a.scalar_type() == at::kFloat && p.b.scalar_type() == at::kFloat && !w.requires_grad(), "a float32 adapter of a frozen weight");
}

// z·Aᵀ
Tensor down(const Tensor &z, const Adapter &p) { return multiply(z, forward_weight(z, p.a.detach(), false)); }
// s·dy·B: the gradient of z·Aᵀ
Tensor down_gradient(const Tensor &dy, const Adapter &p) { return multiply(dy, backward_weight(dy, p.scaled(), false)); }
// s·dyᵀ·h
Tensor b_gradient(const Tensor &dy, const Tensor &h, const Adapter &p) { return multiply_transposed(pack_left(dy), pack_rows(h)).mul_(p.scale); }
// y += s·h·Bᵀ
void add_up(const Tensor &y, const Tensor &h, const Adapter &p) {
  multiply_into(y, h, forward_weight(h, p.scaled(), false), Out{OUT_PLUS, 0, 0, nullptr, 0, nullptr, y.data_ptr()});
}
// dx += dh·A
void add_down_gradient(const Tensor &dx, const Tensor &dh, const Adapter &p) {
  multiply_into(dx, dh, backward_weight(dh, p.a.detach(), false), Out{OUT_PLUS, 0, 0, nullptr, 0, nullptr, dx.data_ptr()});
}

struct AdaptedLinear : Function<AdaptedLinear> {
  static Tensor forward(AutogradContext *ctx, const Tensor &input, const Tensor &a, const Tensor &b, const Tensor &w, const Tensor &dropped,
                        const std::optional<Tensor> &bias, double scale, bool in_out) {
    const Adapter p{a, b, scale};
    check(p, w, in_out);
    const Tensor x = rows_of(input), z = dropped.is_same(input) ? x : rows_of(dropped);
    const Packed weight = forward_weight(x, w, in_out);
    const Tensor y = multiply(x, weight, Out{OUT_PLAIN, 0, 0, nullptr, 0, bias_of(bias, weight.n), nullptr});
    const Tensor h = down(z, p);
    add_up(y, h, p);
    if (ctx) {
      ctx->save_for_backward({z, h, a, b, w});
      ctx->saved_data["scale"] = scale;
      ctx->saved_data["in_out"] = in_out;
      ctx->saved_data["apart"] = !dropped.is_same(input);
    }
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &z = saved[0], &h = saved[1], &w = saved[4];
    const Adapter p{saved[2], saved[3], ctx->saved_data["scale"].toDouble()};
    const bool in_out = ctx->saved_data["in_out"].toBool(), apart = ctx->saved_data["apart"].toBool();
    const Tensor dy = rows_of(grads[0]);
    const Tensor db = b_gradient(dy, h, p), dh = down_gradient(dy, p);
    const Tensor da = multiply_transposed(pack_left(dh), pack_rows(z));
    Tensor dx, dz;
    if (ctx->needs_input_grad(0)) {
      dx = multiply(dy, backward_weight(dy, w, in_out));
      if (apart) dz = multiply(dh, backward_weight(dh, p.a.detach(), false));
      else add_down_gradient(dx, dh, p);
    }
    return {dx, da, db, Tensor(), dz, Tensor(), Tensor(), Tensor()};
  }
};

// y = f(x)·W2 + b2 + s·(f(x)·A2ᵀ)·B2ᵀ, f(x) = activation(x·W1 + b1 + s·(x·A1ᵀ)·B1ᵀ). Of f the values before the activation are kept only.
struct AdaptedMlp : Function<AdaptedMlp> {
  static Tensor forward(AutogradContext *ctx, const Tensor &input, const Tensor &a1, const Tensor &b1, const Tensor &a2, const Tensor &b2,
                        const Tensor &w1, const Tensor &w2, const std::optional<Tensor> &bias1, const std::optional<Tensor> &bias2, double scale,
                        bool in_out, int64_t activation) {
    const Adapter p1{a1, b1, scale}, p2{a2, b2, scale};
    check(p1, w1, in_out), check(p2, w2, in_out);
    const Tensor x = rows_of(input);
    const Packed up = forward_weight(x, w1, in_out);
    const Tensor inner = multiply(x, up, Out{OUT_PLAIN, 0, 0, nullptr, 0, bias_of(bias1, up.n), nullptr});
    const Tensor h1 = down(x, p1);
    const Passing passing(x.size(0), up.n, x);
    const Tensor &active = passing.rows;
    multiply_into(active, h1, forward_weight(h1, p1.scaled(), false), Out{OUT_PLUS_ACTIVATE, int(activation), 0, nullptr, 0, nullptr, inner.data_ptr()});
    const Packed out = forward_weight(x, w2, in_out);
    const Tensor y = multiply(active, out, Out{OUT_PLAIN, 0, 0, nullptr, 0, bias_of(bias2, out.n), nullptr});
    const Tensor h2 = down(active, p2);
    add_up(y, h2, p2);
    if (ctx) {
      ctx->save_for_backward({x, inner, h1, h2, a1, b1, a2, b2, w1, w2});
      ctx->saved_data["scale"] = scale;
      ctx->saved_data["in_out"] = in_out;
      ctx->saved_data["activation"] = activation;
    }
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &inner = saved[1], &h1 = saved[2], &h2 = saved[3], &w1 = saved[8], &w2 = saved[9];
    const double scale = ctx->saved_data["scale"].toDouble();
    const Adapter p1{saved[4], saved[5], scale}, p2{saved[6], saved[7], scale};
    const bool in_out = ctx->saved_data["in_out"].toBool();
    const int activation = int(ctx->saved_data["activation"].toInt());
    const Tensor dy = rows_of(grads[0]);
    const Tensor db2 = b_gradient(dy, h2, p2), dh2 = down_gradient(dy, p2);
    const Tensor da2 = multiply_transposed(pack_left(dh2), pack_rows(inner, activation));
    const Passing inside = multiply_passing(dy, backward_weight(dy, w2, in_out), Out{OUT_PLAIN});
    const Tensor &di = inside.rows;
    multiply_into(di, dh2, backward_weight(dh2, p2.a.detach(), false), Out{OUT_PLUS_SLOPE, activation, 0, nullptr, 0, nullptr, inner.data_ptr()});
    const Tensor db1 = b_gradient(di, h1, p1), dh1 = down_gradient(di, p1);
    const Tensor da1 = multiply_transposed(pack_left(dh1), pack_rows(x));
    Tensor dx;
    if (ctx->needs_input_grad(0)) {
      dx = multiply(di, backward_weight(di, w1, in_out));
      add_down_gradient(dx, dh1, p1);
    }
    return {dx, da1, db1, da2, db2, Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

std::optional<Tensor> optional(const Tensor *t) { return t ? std::optional<Tensor>(*t) : std::nullopt; }

} // namespace

extern "C" {

// `dropped`: x after dropout, or null for x itself.
char *rlhf_lora_linear(const Tensor *x, const Tensor *dropped, const Tensor *w, const Tensor *bias, const Tensor *a, const Tensor *b, double scale,
                       int in_out, Tensor **out) {
  return guarded([&] {
    const bool learns = x->requires_grad() || a->requires_grad();
    *out = new Tensor(apply<AdaptedLinear>(learns, *x, *a, *b, *w, dropped ? *dropped : *x, optional(bias), scale, in_out != 0));
  });
}

// Two maps with an adapter each: weights, biases (or null), A and B of the first, then of the second.
char *rlhf_lora_mlp(const Tensor *x, const Tensor *const *first, const Tensor *const *second, double scale, int in_out, int activation, Tensor **out) {
  return guarded([&] {
    const bool learns = x->requires_grad() || first[2]->requires_grad();
    *out = new Tensor(apply<AdaptedMlp>(learns, *x, *first[2], *first[3], *second[2], *second[3], *first[0], *second[0], optional(first[1]),
                                        optional(second[1]), scale, in_out != 0, int64_t(activation)));
  });
}

} // extern "C"

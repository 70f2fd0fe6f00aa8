// Differentiable functions on activations of bfloat16 or float32 with float32 weights, made of the kernels in matmul.cpp, attention.cpp,
// layer_norm.cpp and kernels.cpp.
//
// A weight that does not learn costs no gradient, and what only that would need is not kept.

#include "functions.h"
#include "kernels.h"
#include "layer_norm.h"

#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>

namespace {

// What a map reads: x, or x under a layer norm, which is not kept for the backward pass but worked out again from x. Without a norm the weight is undefined.
struct Norm {
  Tensor weight, bias;
  double eps;
  Tensor mean, rate; // of each row, once it is worked out

  bool learns() const { return weight.defined() && (weight.requires_grad() || bias.requires_grad()); }

  Tensor of(const Tensor &x) {
    if (!weight.defined()) return x;
    Tensor y;
    if (!in_float(x)) {
      std::tie(y, mean, rate) = at::native_layer_norm(x, {x.size(1)}, weight, bias, eps);
      return y;
    }
    y = at::empty_like(x);
    mean = at::empty({x.size(0)}, weight.options().requires_grad(false)), rate = at::empty_like(mean);
    const LayerNorm norm = describe(x);
    rlhf_layer_norm_forward(&norm, float(eps), static_cast<uint16_t *>(y.data_ptr()), at::get_num_threads());
    return y;
  }

  // From the gradient of what is read to those of x, weight and bias.
  std::tuple<Tensor, Tensor, Tensor> gradients(const Tensor &dy, const Tensor &x) const {
    if (!weight.defined()) return {dy, Tensor(), Tensor()};
    if (!in_float(x)) return at::native_layer_norm_backward(dy, x, {x.size(1)}, mean, rate, weight, bias, {true, weight.requires_grad(), bias.requires_grad()});
    TORCH_CHECK(dy.is_contiguous() && mean.scalar_type() == at::kFloat, "contiguous rows, and means of float32");
    Tensor dx = at::empty_like(x), dg = at::empty_like(weight), dh = at::empty_like(weight);
    const LayerNorm norm = describe(x);
    rlhf_layer_norm_backward(&norm, static_cast<const uint16_t *>(dy.const_data_ptr()), static_cast<uint16_t *>(dx.data_ptr()), dg.data_ptr<float>(), dh.data_ptr<float>(),
                             at::get_num_threads());
    return {dx, weight.requires_grad() ? dg : Tensor(), bias.requires_grad() ? dh : Tensor()};
  }

private:
  // Rows of bfloat16 under weights of float32: layer_norm.cpp.
  bool in_float(const Tensor &x) const { return x.scalar_type() == at::kBFloat16 && weight.scalar_type() == at::kFloat && bias.scalar_type() == at::kFloat; }

  LayerNorm describe(const Tensor &x) const {
    TORCH_CHECK(x.is_contiguous() && weight.is_contiguous() && bias.is_contiguous() && bias.numel() == x.size(1) && weight.numel() == x.size(1), "contiguous rows of ", weight.numel());
    return LayerNorm{static_cast<const uint16_t *>(x.const_data_ptr()), weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), x.size(0), x.size(1),
                     mean.data_ptr<float>(), rate.data_ptr<float>()};
  }
};

Norm norm_of(const std::optional<Tensor> &weight, const std::optional<Tensor> &bias, double eps) {
  return Norm{weight.value_or(Tensor()), bias.value_or(Tensor()), eps, Tensor(), Tensor()};
}

// y = x under a norm
struct Normed : Function<Normed> {
  static Tensor forward(AutogradContext *ctx, const Tensor &input, const Tensor &weight, const Tensor &bias, double eps) {
    TORCH_CHECK(input.device().is_cpu() && input.size(-1) == weight.numel(), "rows of ", weight.numel(), " on the CPU, not ", input.sizes());
    const Tensor x = input.reshape({-1, weight.numel()}).contiguous();
    Norm norm = norm_of(weight, bias, eps);
    const Tensor y = norm.of(x);
    if (ctx) ctx->save_for_backward({x, weight, bias, norm.mean, norm.rate});
    return y.view(input.sizes());
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Norm norm{saved[1], saved[2], 0, saved[3], saved[4]};
    const auto [dx, dg, dh] = norm.gradients(grads[0].reshape(saved[0].sizes()).contiguous(), saved[0]);
    return {dx.view(grads[0].sizes()), dg, dh, Tensor()};
  }
};

// y = x·W + b, x under a norm or not
struct Linear : Function<Linear> {
  static Tensor forward(AutogradContext *ctx, const Tensor &input, const Tensor &w, const std::optional<Tensor> &b, const std::optional<Tensor> &norm_weight,
                        const std::optional<Tensor> &norm_bias, double eps, bool in_out) {
    const Tensor x = rows_of(input);
    Norm norm = norm_of(norm_weight, norm_bias, eps);
    const Packed weight = forward_weight(x, w, in_out);
    const Tensor y = multiply(norm.of(x), weight, Out{OUT_PLAIN, 0, 0, nullptr, 0, bias_of(b, weight.n), nullptr});
    if (ctx) {
      const bool keeps = w.requires_grad() || norm.weight.defined();
      ctx->save_for_backward({keeps ? x : Tensor(), w, b.value_or(Tensor()), norm.weight, norm.bias});
      ctx->saved_data["in_out"] = in_out;
      ctx->saved_data["eps"] = eps;
    }
    return y;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &w = saved[1], &b = saved[2];
    const bool in_out = ctx->saved_data["in_out"].toBool();
    Norm norm{saved[3], saved[4], ctx->saved_data["eps"].toDouble(), Tensor(), Tensor()};
    const Tensor dy = rows_of(grads[0]);
    Tensor dx, dw, db, dg, dh;
    const Tensor read = x.defined() ? norm.of(x) : Tensor();
    if (ctx->needs_input_grad(1)) {
      if (b.defined()) db = at::empty_like(b);
      dw = weight_gradient(read, 0, dy, data_of(db), in_out);
    }
    if (ctx->needs_input_grad(0) || norm.learns()) std::tie(dx, dg, dh) = norm.gradients(multiply(dy, backward_weight(dy, w, in_out)), x);
    return {dx, dw, db, dg, dh, Tensor(), Tensor()};
  }
};

// y = activation(x·W1 + b1)·W2 + b2, x under a norm or not. What stands between the two is kept before the activation only and worked out again.
struct Mlp : Function<Mlp> {
  static Tensor forward(AutogradContext *ctx, const Tensor &input, const Tensor &w1, const std::optional<Tensor> &b1, const Tensor &w2,
                        const std::optional<Tensor> &b2, const std::optional<Tensor> &norm_weight, const std::optional<Tensor> &norm_bias, double eps,
                        bool in_out, int64_t activation) {
    const Tensor x = rows_of(input);
    Norm norm = norm_of(norm_weight, norm_bias, eps);
    const Packed up = forward_weight(x, w1, in_out);
    const Tensor inner = ctx ? at::empty({x.size(0), up.n}, x.options()) : Tensor();
    const Passing active = multiply_passing(norm.of(x), up, Out{OUT_ACTIVATE, int(activation), 0, nullptr, 0, bias_of(b1, up.n), ctx ? inner.data_ptr() : nullptr});
    const Packed down = forward_weight(x, w2, in_out);
    if (ctx) {
      const bool keeps = w1.requires_grad() || norm.weight.defined();
      ctx->save_for_backward({keeps ? x : Tensor(), inner, w1, b1.value_or(Tensor()), w2, b2.value_or(Tensor()), norm.weight, norm.bias});
      ctx->saved_data["in_out"] = in_out;
      ctx->saved_data["eps"] = eps;
      ctx->saved_data["activation"] = activation;
    }
    return multiply(active.rows, down, Out{OUT_PLAIN, 0, 0, nullptr, 0, bias_of(b2, down.n), nullptr});
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &inner = saved[1], &w1 = saved[2], &b1 = saved[3], &w2 = saved[4], &b2 = saved[5];
    const bool in_out = ctx->saved_data["in_out"].toBool(), train = ctx->needs_input_grad(1);
    const int activation = int(ctx->saved_data["activation"].toInt());
    Norm norm{saved[6], saved[7], ctx->saved_data["eps"].toDouble(), Tensor(), Tensor()};
    const Tensor dy = rows_of(grads[0]);
    Tensor dx, dw1, db1, dw2, db2, dg, dh;
    if (train) {
      if (b2.defined()) db2 = at::empty_like(b2);
      dw2 = weight_gradient(inner, activation, dy, data_of(db2), in_out);
    }
    const Passing inside = multiply_passing(dy, backward_weight(dy, w2, in_out), Out{OUT_SLOPE, activation, 0, nullptr, 0, nullptr, inner.data_ptr()});
    const Tensor &di = inside.rows;
    const Tensor read = x.defined() ? norm.of(x) : Tensor();
    if (train) {
      if (b1.defined()) db1 = at::empty_like(b1);
      dw1 = weight_gradient(read, 0, di, data_of(db1), in_out);
    }
    if (ctx->needs_input_grad(0) || norm.learns()) std::tie(dx, dg, dh) = norm.gradients(multiply(di, backward_weight(di, w1, in_out)), x);
    return {dx, dw1, db1, dw2, db2, dg, dh, Tensor(), Tensor(), Tensor()};
  }
};

// Where the heads of q, k and v lie within the rows of one tensor or of three, and the sequences; see attention.h.
struct Shape {
  int64_t heads, kv_heads, width, turning, window;
  double scale;
  bool by_head; // one tensor: query, key and value of the first head, then of the second; else all queries, all keys, all values
  Tensor cos, sin, bounds, segments;
};

Attention describe(const Shape &s, const variable_list &qkv) {
  Attention a{};
  const auto heads = [&](const Tensor &t, int64_t skip, int64_t step) {
    return Heads{static_cast<char *>(const_cast<void *>(t.const_data_ptr())) + t.element_size() * skip, t.stride(0), step};
  };
  const int64_t w = s.width;
  if (qkv.size() == 3) {
    a.q = heads(qkv[0], 0, w), a.k = heads(qkv[1], 0, w), a.v = heads(qkv[2], 0, w);
  } else if (s.by_head) {
    a.q = heads(qkv[0], 0, 3 * w), a.k = heads(qkv[0], w, 3 * w), a.v = heads(qkv[0], 2 * w, 3 * w);
  } else {
    a.q = heads(qkv[0], 0, w), a.k = heads(qkv[0], s.heads * w, w), a.v = heads(qkv[0], (s.heads + s.kv_heads) * w, w);
  }
  a.heads = s.heads, a.kv_heads = s.kv_heads, a.width = w, a.tokens = qkv[0].size(0);
  a.turning = s.turning, a.scale = float(s.scale), a.window = s.window;
  if (s.turning) a.cos = s.cos.const_data_ptr<float>(), a.sin = s.sin.const_data_ptr<float>();
  a.groups = s.bounds.numel() - 1, a.bounds = s.bounds.const_data_ptr<int64_t>(), a.segments = s.segments.const_data_ptr<int64_t>();
  return a;
}

void check(const Shape &s, const variable_list &qkv) {
  const int64_t q = s.heads * s.width, kv = s.kv_heads * s.width;
  const Tensor &bounds = s.bounds, &segments = s.segments;
  TORCH_CHECK(s.width % 2 == 0 && s.width > 0 && s.width <= 512 && s.kv_heads > 0 && s.heads % s.kv_heads == 0, "heads of an even width up to 512, not ",
              s.heads, "/", s.kv_heads, " of ", s.width);
  TORCH_CHECK(s.turning % 2 == 0 && s.turning <= s.width, "rotary positions turn ", s.turning, " features of ", s.width);
  for (size_t i = 0; i < qkv.size(); ++i) {
    const int64_t want = qkv.size() == 1 ? q + 2 * kv : i == 0 ? q : kv;
    const Tensor &t = qkv[i];
    TORCH_CHECK(t.dim() == 2 && t.size(1) == want && t.stride(1) == 1 && t.stride(0) % 2 == 0 && t.scalar_type() == qkv[0].scalar_type() &&
                    t.size(0) == qkv[0].size(0),
                "rows of ", want, " activations, not ", t.sizes(), " of ", t.scalar_type());
  }
  TORCH_CHECK(bounds.scalar_type() == at::kLong && segments.scalar_type() == at::kLong && bounds.is_contiguous() && segments.is_contiguous() &&
                  bounds.numel() > 0 && segments.numel() > 0,
              "bounds and segments are int64");
  const int64_t *b = bounds.const_data_ptr<int64_t>(), *t = segments.const_data_ptr<int64_t>();
  for (int64_t i = 0; i + 1 < bounds.numel(); ++i) TORCH_CHECK(b[i] < b[i + 1], "a group without a segment");
  for (int64_t i = 0; i + 1 < segments.numel(); ++i) TORCH_CHECK(t[i] < t[i + 1], "a segment without tokens");
  TORCH_CHECK(b[0] == 0 && b[bounds.numel() - 1] == segments.numel() - 1 && t[0] == 0 && t[segments.numel() - 1] == qkv[0].size(0),
              "the segments do not make up the ", qkv[0].size(0), " tokens");
  if (s.turning)
    for (const Tensor &table : {s.cos, s.sin})
      TORCH_CHECK(table.scalar_type() == at::kFloat && table.is_contiguous() && table.numel() == qkv[0].size(0) * s.turning / 2,
                  "tables of [tokens, ", s.turning / 2, "] float32");
}

struct Attend : Function<Attend> {
  // A list of tensors counts as variables under this type alone; as a std::vector autograd would not see it.
  static Tensor forward(AutogradContext *ctx, at::TensorList list, const Shape &shape) {
    const variable_list qkv = list.vec();
    check(shape, qkv);
    Attention a = describe(shape, qkv);
    Tensor out = at::empty({a.tokens, shape.heads * shape.width}, qkv[0].options());
    Tensor lse = at::empty({shape.heads, a.tokens}, qkv[0].options().dtype(at::kFloat));
    a.out = Heads{out.data_ptr(), out.stride(0), shape.width};
    a.lse = lse.data_ptr<float>();
    TORCH_CHECK(kernels_of(qkv[0]).attention(&a, at::get_num_threads()) == 0, "out of memory");
    if (ctx) {
      variable_list saved = qkv;
      saved.insert(saved.end(), {shape.cos, shape.sin, shape.bounds, shape.segments, out, lse});
      ctx->save_for_backward(saved);
      ctx->saved_data["shape"] = std::vector<int64_t>{shape.heads, shape.kv_heads, shape.width, shape.turning, shape.window, shape.by_head};
      ctx->saved_data["scale"] = shape.scale;
    }
    return out;
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const size_t parts = saved.size() - 6;
    const variable_list qkv(saved.begin(), saved.begin() + parts);
    const Tensor *rest = saved.data() + parts; // cos, sin, bounds, segments, out, lse
    const auto n = ctx->saved_data["shape"].toIntVector();
    const Shape shape{n[0], n[1], n[2], n[3], n[4], ctx->saved_data["scale"].toDouble(), n[5] != 0, rest[0], rest[1], rest[2], rest[3]};
    variable_list dqkv;
    for (const Tensor &t : qkv) dqkv.push_back(at::empty(t.sizes(), t.options()));
    Attention a = describe(shape, qkv), d = describe(shape, dqkv);
    const Tensor dout = rows_of(grads[0]);
    a.out = Heads{const_cast<void *>(rest[4].const_data_ptr()), rest[4].stride(0), shape.width};
    a.grad_out = Heads{const_cast<void *>(dout.const_data_ptr()), dout.stride(0), shape.width};
    a.lse = const_cast<float *>(rest[5].const_data_ptr<float>());
    a.dq = d.q, a.dk = d.k, a.dv = d.v;
    TORCH_CHECK(kernels_of(dout).attention_backward(&a, at::get_num_threads()) == 0, "out of memory");
    dqkv.resize(parts + 1);
    return dqkv;
  }
};

// log softmax(factor · logits)[target] and the entropy of that softmax, both [N] float32.
struct TokenLogProbs : Function<TokenLogProbs> {
  static variable_list forward(AutogradContext *ctx, const Tensor &input, const Tensor &targets, double factor) {
    const Tensor logits = input.contiguous();
    TORCH_CHECK(logits.dim() == 2 && (logits.scalar_type() == at::kFloat || logits.scalar_type() == at::kBFloat16) && logits.device().is_cpu(),
                "logits [N, V] of float32 or bfloat16 on the CPU, not ", logits.sizes(), " of ", logits.scalar_type());
    TORCH_CHECK(targets.scalar_type() == at::kLong && targets.is_contiguous() && targets.dim() == 1 && targets.size(0) == logits.size(0),
                "targets: ", logits.size(0), " contiguous int64");
    const int64_t *id = targets.const_data_ptr<int64_t>();
    for (int64_t i = 0; i < targets.numel(); ++i) TORCH_CHECK(id[i] >= 0 && id[i] < logits.size(1), "a target ", id[i], " outside the vocabulary");
    const auto row = [&] { return at::empty({logits.size(0)}, logits.options().dtype(at::kFloat).requires_grad(false)); };
    Tensor log_prob = row(), entropy = row(), lse = row();
    const Tokens tokens = describe(logits, targets, factor, entropy, lse, log_prob.data_ptr<float>());
    rlhf_tokens(&tokens, at::get_num_threads());
    if (ctx) {
      ctx->save_for_backward({logits, targets, entropy, lse});
      ctx->saved_data["factor"] = factor;
      ctx->set_materialize_grads(false);
    }
    return {log_prob, entropy};
  }

  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &logits = saved[0], &targets = saved[1];
    Tensor entropy = saved[2], lse = saved[3], out = at::empty_like(logits);
    const Tokens tokens = describe(logits, targets, ctx->saved_data["factor"].toDouble(), entropy, lse, nullptr);
    const auto flat = [](const Tensor &g) { return g.defined() ? g.to(at::kFloat).contiguous() : g; };
    const auto at = [](const Tensor &g) { return g.defined() ? g.const_data_ptr<float>() : nullptr; };
    const Tensor g = flat(grads[0]), h = flat(grads[1]);
    rlhf_tokens_backward(&tokens, at(g), at(h), out.data_ptr(), at::get_num_threads());
    return {out, Tensor(), Tensor()};
  }

  static Tokens describe(const Tensor &logits, const Tensor &targets, double factor, Tensor &entropy, Tensor &lse, float *log_prob) {
    return Tokens{logits.const_data_ptr(), logits.scalar_type() == at::kBFloat16, targets.const_data_ptr<int64_t>(), logits.size(0), logits.size(1),
                  float(factor), log_prob, const_cast<float *>(entropy.const_data_ptr<float>()), const_cast<float *>(lse.const_data_ptr<float>())};
  }
};

std::optional<Tensor> option(const Tensor *t) { return t ? std::optional<Tensor>(*t) : std::nullopt; }

// `norm`: null, or weight and bias of the layer norm that a map's rows are read under.
bool learns(const Tensor &x, const Tensor &weight, const Tensor *const *norm) {
  return x.requires_grad() || weight.requires_grad() || (norm && (norm[0]->requires_grad() || norm[1]->requires_grad()));
}

} // namespace

extern "C" {

char *rlhf_layer_norm(const Tensor *x, const Tensor *const *norm, double eps, Tensor **out) {
  return guarded([&] { *out = new Tensor(apply<Normed>(learns(*x, *norm[0], norm), *x, *norm[0], *norm[1], eps)); });
}

char *rlhf_linear(const Tensor *x, const Tensor *const *norm, double eps, const Tensor *w, const Tensor *b, int in_out, Tensor **out) {
  return guarded([&] {
    *out = new Tensor(apply<Linear>(learns(*x, *w, norm), *x, *w, option(b), norm ? option(norm[0]) : std::nullopt, norm ? option(norm[1]) : std::nullopt, eps, in_out != 0));
  });
}

char *rlhf_mlp(const Tensor *x, const Tensor *const *norm, double eps, const Tensor *w1, const Tensor *b1, const Tensor *w2, const Tensor *b2, int in_out,
               int activation, Tensor **out) {
  return guarded([&] {
    *out = new Tensor(apply<Mlp>(learns(*x, *w1, norm), *x, *w1, option(b1), *w2, option(b2), norm ? option(norm[0]) : std::nullopt, norm ? option(norm[1]) : std::nullopt, eps,
                                 in_out != 0, int64_t(activation)));
  });
}

// `qkv`: one tensor or three; `tables`: null, or cosine and sine.
char *rlhf_attend(const Tensor *const *qkv, size_t parts, const Tensor *const *tables, const Tensor *bounds, const Tensor *segments, int64_t heads,
                  int64_t kv_heads, int64_t width, int64_t turning, int64_t window, double scale, int by_head, Tensor **out) {
  return guarded([&] {
    TORCH_CHECK(parts == 1 || parts == 3, "one tensor of queries, keys and values, or three");
    variable_list list;
    bool learns = false;
    for (size_t i = 0; i < parts; ++i) {
      list.push_back(*qkv[i]);
      learns |= qkv[i]->requires_grad();
    }
    const Shape shape{heads, kv_heads, width, tables ? turning : 0, window, scale, by_head != 0, tables ? *tables[0] : Tensor(),
                      tables ? *tables[1] : Tensor(), *bounds, *segments};
    *out = new Tensor(apply<Attend>(learns, at::TensorList(list), shape));
  });
}

char *rlhf_token_log_probs(const Tensor *logits, const Tensor *targets, double factor, Tensor **log_prob, Tensor **entropy) {
  return guarded([&] {
    const variable_list both = apply<TokenLogProbs>(logits->requires_grad(), *logits, *targets, factor);
    *log_prob = new Tensor(both[0]);
    *entropy = new Tensor(both[1]);
  });
}

} // extern "C"

// What the differentiable functions are made of: packed matrices and products of them as tensors.
//
// Activations are bfloat16 or float32, [N, features], contiguous; products are of their type, sums float32, and the gradients of weights and biases float32
// and never rounded.
#pragma once

#include "guarded.h"
#include "rows.h"
#include "scratch.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <torch/csrc/autograd/custom_function.h>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

// The kernels for activations of this type.
const Kernels &kernels_of(const Tensor &x) {
  TORCH_CHECK(x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16, "activations of float32 or bfloat16, not ", x.scalar_type());
  const Kernels &of = x.scalar_type() == at::kFloat ? *rlhf_f32_kernels() : *rlhf_bf16_kernels();
  TORCH_CHECK(of.product, "no kernels for ", x.scalar_type(), " on this kind of processor");
  return of;
}

// A packed matrix. `k`: the dimension summed over. `left`: what multiply_transposed turns.
struct Packed {
  const Kernels &of;
  Scratch words;
  int64_t k, n;
  bool left;
  uint32_t *at() const { return static_cast<uint32_t *>(words.at()); }
};

// Of w [n, k] (`along`) or [k, n], after an activation; `sums` receives those of the columns.
Packed pack(const Kernels &of, const Tensor &w, bool along, int activation = 0, float *sums = nullptr, bool left = false) {
  TORCH_CHECK(w.dim() == 2 && w.stride(1) == 1, "a matrix with contiguous rows, not ", w.sizes(), " with strides ", w.strides());
  TORCH_CHECK(w.scalar_type() == at::kFloat || (w.scalar_type() == at::kBFloat16 && of.per == 2), "a matrix of ", w.scalar_type());
  const int64_t k = w.size(along ? 1 : 0), n = w.size(along ? 0 : 1);
  const Matrix matrix{w.const_data_ptr(), w.scalar_type() == at::kBFloat16, along, activation, left, k, n, w.stride(0)};
  Packed out{of, Scratch(of.room(&matrix) * sizeof(uint32_t)), k, n, left};
  of.pack(&matrix, out.at(), sums, at::get_num_threads());
  return out;
}

// Activations, which are summed over where they are multiplied with a transposed matrix: that one, and the other.
Packed pack_left(const Tensor &x, int activation = 0, float *sums = nullptr) { return pack(kernels_of(x), x, false, activation, sums, true); }
Packed pack_rows(const Tensor &x, int activation = 0, float *sums = nullptr) { return pack(kernels_of(x), x, false, activation, sums); }

Tensor rows_of(const Tensor &x) {
  kernels_of(x);
  TORCH_CHECK(x.dim() == 2 && x.size(1) % 2 == 0, "rows of even width, not ", x.sizes());
  return x.size(0) ? x.contiguous() : at::empty(x.sizes(), x.options()); // none are contiguous whatever their strides
}

const float *bias_of(const std::optional<Tensor> &bias, int64_t n) {
  if (!bias) return nullptr;
  TORCH_CHECK(bias->scalar_type() == at::kFloat && bias->is_contiguous() && bias->numel() == n, "a bias of ", n, " float32");
  return bias->const_data_ptr<float>();
}

// A · B of rows A into C.
void multiply_into(const Tensor &c, const Tensor &a, const Packed &b, Out out) {
  TORCH_CHECK(a.size(1) == b.k && c.size(1) == b.n && c.size(0) == a.size(0), "rows of ", a.size(1), " times a matrix of ", b.k, " rows");
  TORCH_CHECK(&kernels_of(a) == &b.of && !b.left, "a matrix packed for other rows than of ", a.scalar_type());
  const Product product{a.size(0), b.n, b.k, static_cast<const uint32_t *>(a.const_data_ptr()), b.k / b.of.per, 0, b.at()};
  out.c = c.data_ptr();
  out.stride = b.n;
  b.of.product(&product, &out, at::get_num_threads());
}

// C = A · B of rows A.
Tensor multiply(const Tensor &a, const Packed &b, Out out = Out{OUT_PLAIN}) {
  Tensor c = at::empty({a.size(0), b.n}, a.options());
  multiply_into(c, a, b, out);
  return c;
}

// Rows that live no longer than the function that makes them.
struct Passing {
  Scratch memory;
  Tensor rows;
  Passing(int64_t n, int64_t width, const Tensor &like)
      : memory(n * width * like.element_size()), rows(at::from_blob(memory.at(), {n, width}, like.options().requires_grad(false))) {}
};

// The same of C = A · B.
Passing multiply_passing(const Tensor &a, const Packed &b, Out out) {
  Passing c(a.size(0), b.n, a);
  multiply_into(c.rows, a, b, out);
  return c;
}

// Aᵀ · B of two matrices packed over the same dimension, [a.n, b.n] in float32.
Tensor multiply_transposed(const Packed &a, const Packed &b) {
  TORCH_CHECK(a.left && !b.left && a.k == b.k, "a left and another matrix of as many rows");
  if (a.k == 0) return at::zeros({a.n, b.n}, at::TensorOptions(at::kFloat));
  Tensor c = at::empty({a.n, b.n}, at::TensorOptions(at::kFloat));
  const Product product{a.n, b.n, a.k, a.at(), 0, 1, b.at()};
  const Out out{OUT_EXACT, 0, 0, c.data_ptr(), b.n, nullptr, nullptr};
  a.of.product(&product, &out, at::get_num_threads());
  return c;
}

// The weight maps [N, K] to [N, M]; it is stored as [K, M] (`in_out`) or [M, K].
// `x`: the rows that it is for.
Packed forward_weight(const Tensor &x, const Tensor &w, bool in_out) { return pack(kernels_of(x), w, !in_out); }
Packed backward_weight(const Tensor &x, const Tensor &w, bool in_out) { return pack(kernels_of(x), w, in_out); }
// Of y = activation(x)·W; `sums` receives those of dy's columns, the bias's gradient.
Tensor weight_gradient(const Tensor &x, int activation, const Tensor &dy, float *sums, bool in_out) {
  return in_out ? multiply_transposed(pack_left(x, activation), pack_rows(dy, 0, sums)) : multiply_transposed(pack_left(dy, 0, sums), pack_rows(x, activation));
}

float *data_of(const Tensor &t) { return t.defined() ? t.data_ptr<float>() : nullptr; }

// Without autograd nothing is kept for a backward pass.
template <class F, class... Args> auto apply(bool differentiable, Args... args) {
  return differentiable && at::GradMode::is_enabled() ? F::apply(args...) : F::forward(nullptr, args...);
}

} // namespace

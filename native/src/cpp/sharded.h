// Gradients summed to their owners, a bucket at a time: what sharded.cpp (whole weights) and units.cpp (weights in parts too) share.
//
// A bucket has as many equal parts as there are processes. Its parts travel to their owners (all to all: with N processes each sends (N-1)/N of a bucket,
// where Gloo's own reduce-scatter would send all of it), which add them up in the order of ranks. The gradients themselves are given up.
#pragma once

#include "c10d.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>

struct Bucket {
  std::vector<size_t> params;
  at::Tensor sum; // [part], this process's
  at::Tensor sent, received; // [size * part]
  c10::intrusive_ptr<c10d::Work> work;
};

// Buckets leave in one order in all processes.
struct Exchange {
  GroupPtr group;
  Tensors params;
  std::vector<int64_t> begins; // of each parameter in its bucket
  std::vector<Bucket> buckets;
  size_t in_flight = 2; // buckets on their way at a time: each costs twice its size
  size_t launched = 0, settled = 0;

  Exchange(const GroupPtr &g, Tensors all, const size_t *bucket_of, const int64_t *begin, const Tensors &sums)
      : group(g), params(std::move(all)), begins(begin, begin + params.size()), buckets(sums.size()) {
    for (size_t b = 0; b < sums.size(); ++b) buckets[b].sum = sums[b];
    for (size_t i = 0; i < params.size(); ++i) buckets.at(bucket_of[i]).params.push_back(i);
  }

  void restart() { launched = settled = 0; }

  void launch() {
    if (launched - settled == in_flight) settle();
    c10::AutoGradMode no_grad(false);
    auto &b = buckets.at(launched++);
    const int64_t part = b.sum.numel();
    b.sent = at::zeros({part * group->getSize()}, b.sum.options());
    for (size_t p : b.params) {
      auto &grad = params[p].mutable_grad();
      if (!grad.defined()) continue; // what no gradient reached counts as zero
      b.sent.narrow(0, begins[p], grad.numel()).view(grad.sizes()).copy_(grad);
      grad.reset();
    }
    b.received = at::empty_like(b.sent);
    std::vector<int64_t> equal_parts;
    b.work = group->all_to_all_single(b.received, b.sent, equal_parts, equal_parts);
  }

  void settle() {
    c10::AutoGradMode no_grad(false);
    auto &b = buckets.at(settled++);
    b.work->wait();
    const int64_t part = b.sum.numel();
    for (int64_t r = 0; r < group->getSize(); ++r) b.sum.add_(b.received.narrow(0, r * part, part));
    b.sent.reset(), b.received.reset(), b.work.reset();
  }

  void finish() {
    while (launched < buckets.size()) launch();
    while (settled < buckets.size()) settle();
  }
};

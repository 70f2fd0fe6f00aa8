// Weights of which each process keeps its part only, and which are whole while they are needed (ZeRO-3, arXiv 1910.02054, section 5.3; FSDP, arXiv
// 2304.11277).
//
// A unit is what is whole together: unit 0 all that stands outside the blocks, unit i the i-th block. Its parameters are views of one flat storage, which is
// gathered from all processes' parts just before the block's forward pass, given up after it, gathered again before its backward pass, and given up once that
// is done; then its gradients travel to their owners (sharded.h). The next unit is on its way while one computes. Unit 0 stays whole until the backward
// pass has ended. Tensors that autograd has kept share the storage, so they see the values that were gathered last.
//
// All processes call the same functions in the same order; one that has no rows left makes an idle pass.

#include "sharded.h"

#include <ATen/core/ivalue.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <mutex>
#include <unordered_map>

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

struct Unit {
  at::Tensor flat; // [size * part], whose storage is empty while the unit is away
  at::Tensor part; // [part], this process's
  std::vector<c10::intrusive_ptr<c10d::Work>> works; // which bring it
  enum { AWAY, COMING, HERE } state = HERE;
};

struct Units : torch::CustomClassHolder {
  Exchange exchange; // the last unit is bucket 0: gradients come in this order
  std::vector<Unit> units;
  // Memory that units gave up, by its size: blocks are alike, so the next one takes it over, and no holes of a block's size remain in the heap.
  std::unordered_multimap<size_t, at::DataPtr> spare;
  static constexpr size_t SPARES = 2; // of one size: the block that computes and the one on its way
  bool held = false;
  std::string failure; // of an exchange in a forward pass; told when the backward pass begins
  std::recursive_mutex lock;

  explicit Units(Exchange e) : exchange(std::move(e)), units(exchange.buckets.size()) {
    exchange.in_flight = 1; // a block's backward pass is long enough for the exchange of another's gradients
  }

  size_t last() const { return units.size() - 1; }
  Bucket &bucket(size_t unit) { return exchange.buckets.at(last() - unit); }

  void allocate(Unit &u) {
    auto *storage = u.flat.storage().unsafeGetStorageImpl();
    const size_t bytes = u.flat.numel() * u.flat.element_size();
    const auto found = spare.find(bytes);
    storage->set_data_ptr_noswap(found == spare.end() ? storage->allocator()->allocate(bytes) : std::move(found->second));
    storage->set_nbytes(bytes);
    if (found != spare.end()) spare.erase(found);
  }

  void give_up(Unit &u) {
    auto *storage = u.flat.storage().unsafeGetStorageImpl();
    const size_t bytes = storage->nbytes();
    at::DataPtr memory = storage->set_data_ptr(storage->allocator()->allocate(0));
    storage->set_nbytes(0);
    if (spare.count(bytes) < SPARES) spare.emplace(bytes, std::move(memory));
  }

  void start(size_t unit) {
    auto &u = units.at(unit);
    if (u.state != Unit::AWAY) return;
    allocate(u);
    u.state = Unit::COMING;
    if (!failure.empty()) return;
    c10::AutoGradMode no_grad(false);
    at::Tensor to = u.flat.detach(), from = u.part;
    if (from.is_cuda()) {
      u.works.push_back(exchange.group->all_gather_single(to, from));
      return;
    }
    // Gloo's gather would make a copy of the whole; broadcasts from the owners write where each part is to be.
    for (int64_t r = 0; r < exchange.group->getSize(); ++r) {
      std::vector<at::Tensor> place{to.narrow(0, r * from.numel(), from.numel())};
      if (r == exchange.group->getRank()) place[0].copy_(from);
      c10d::BroadcastOptions options;
      options.rootRank = r;
      u.works.push_back(exchange.group->broadcast(place, options));
    }
  }

  void wait(Unit &u) {
    for (auto &work : u.works) work->wait();
    u.works.clear();
  }

  void ensure(size_t unit) {
    start(unit);
    wait(units[unit]);
    units[unit].state = Unit::HERE;
  }

  void release(size_t unit) {
    auto &u = units.at(unit);
    wait(u);
    if (u.state != Unit::AWAY) give_up(u);
    u.state = Unit::AWAY;
  }

  void release_all() {
    for (size_t u = 0; u < units.size(); ++u) release(u);
  }

  // A forward pass tells no errors: after one it goes on with whatever is in memory, and the next exchange says what has happened.
  template <class Body> void quietly(Body body) {
    std::lock_guard guard(lock);
    try {
      body();
    } catch (const c10::Error &e) {
      note(e.what_without_backtrace());
    } catch (const std::exception &e) {
      note(e.what());
    }
  }

  void note(const char *what) {
    if (failure.empty()) failure = what;
    for (auto &u : units) u.works.clear();
  }

  void check() {
    if (!failure.empty()) throw std::runtime_error(failure);
  }

  // A pass begins: the root is whole, the first block on its way.
  void root() {
    std::lock_guard guard(lock);
    if (held) return;
    quietly([&] {
      ensure(0);
      if (last() > 0) start(1);
    });
  }

  void enter(size_t unit) {
    std::lock_guard guard(lock);
    if (held) return;
    quietly([&] {
      ensure(unit);
      if (unit < last()) start(unit + 1);
    });
  }

  // `learns`: a backward pass follows, and begins with the last unit.
  void leave(size_t unit, bool learns) {
    std::lock_guard guard(lock);
    if (held || (learns && unit == last())) return;
    quietly([&] { release(unit); });
  }

  void before_backward(size_t unit) {
    std::lock_guard guard(lock);
    ensure(unit);
    if (unit > 1) start(unit - 1);
  }

  void after_backward(size_t unit) {
    std::lock_guard guard(lock);
    TORCH_CHECK(exchange.launched == last() - unit, "the backward pass of block ", unit, " is not the one expected after ", exchange.launched, " others");
    release(unit);
    exchange.launch();
  }

  void begin() {
    std::lock_guard guard(lock);
    check();
    exchange.restart();
  }

  void finish() {
    std::lock_guard guard(lock);
    exchange.finish();
    release_all();
  }

  void idle_forward(bool learns) {
    root();
    for (size_t u = 1; u <= last(); ++u) enter(u), leave(u, learns);
  }

  void idle_backward() {
    for (size_t u = last(); u >= 1; --u) before_backward(u), after_backward(u);
  }

  void hold(bool keep) {
    std::lock_guard guard(lock);
    quietly([&] {
      for (size_t u = 0; u < units.size(); ++u) {
        ensure(u);
        if (!keep) release(u);
      }
    });
    held = true;
  }

  void let_go() {
    std::lock_guard guard(lock);
    held = false;
    quietly([&] { release_all(); });
  }

  int64_t begin_of_own(const Unit &u) { return exchange.group->getRank() * u.part.numel(); }

  // What was changed of weights that are held becomes this process's part of them.
  void store() {
    std::lock_guard guard(lock);
    c10::AutoGradMode no_grad(false);
    for (auto &u : units) u.part.copy_(u.flat.detach().narrow(0, begin_of_own(u), u.part.numel()));
  }

  // One parameter, whole; no unit need be here.
  at::Tensor fetch(size_t unit, size_t param) {
    std::lock_guard guard(lock);
    c10::AutoGradMode no_grad(false);
    check();
    auto &u = units.at(unit);
    const int64_t begin = exchange.begins.at(param), length = exchange.params[param].numel(), part = u.part.numel();
    at::Tensor out = at::empty({length}, u.part.options());
    for (int64_t r = 0; r < exchange.group->getSize(); ++r) {
      const int64_t from = std::max(begin, r * part), to = std::min(begin + length, (r + 1) * part);
      if (from >= to) continue;
      at::Tensor piece = out.narrow(0, from - begin, to - from);
      if (r == exchange.group->getRank()) piece.copy_(u.part.narrow(0, from - r * part, to - from));
      std::vector<at::Tensor> all{piece};
      c10d::BroadcastOptions options;
      options.rootRank = r;
      exchange.group->broadcast(all, options)->wait();
    }
    return out.view(exchange.params[param].sizes());
  }
};

using UnitsPtr = c10::intrusive_ptr<Units>;

UnitsPtr &units_of(void *handle) { return *static_cast<UnitsPtr *>(handle); }

UnitsPtr units_of(AutogradContext *ctx) { return c10::static_intrusive_pointer_cast<Units>(ctx->saved_data["units"].toCapsule()); }

// x, where a block begins. Its gradient is there when the block's backward pass is done: what the block made came later in the forward pass, so autograd
// takes it first.
struct Entrance : Function<Entrance> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x, int64_t unit, const UnitsPtr &units) {
    ctx->saved_data["unit"] = unit;
    ctx->saved_data["units"] = c10::IValue::make_capsule(units);
    return x;
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    units_of(ctx)->after_backward(ctx->saved_data["unit"].toInt());
    return {grads[0], at::Tensor(), at::Tensor()};
  }
};

// x, where a block ends: its backward pass begins here.
struct Exit : Function<Exit> {
  static at::Tensor forward(AutogradContext *ctx, const at::Tensor &x, int64_t unit, const UnitsPtr &units) {
    ctx->saved_data["unit"] = unit;
    ctx->saved_data["units"] = c10::IValue::make_capsule(units);
    return x;
  }
  static variable_list backward(AutogradContext *ctx, variable_list grads) {
    units_of(ctx)->before_backward(ctx->saved_data["unit"].toInt());
    return {grads[0], at::Tensor(), at::Tensor()};
  }
};

bool learns(const at::Tensor &x) { return x.requires_grad() && at::GradMode::is_enabled(); }

} // namespace

extern "C" {

// Parameter i lies in bucket buckets[i] from value begins[i] on. `parts` and `sums` have a tensor for each bucket, this process's: the parts are filled from
// the parameters of process 0, which all must have in equal shapes, and the parameters' own memory is given up. Bucket b is unit n_buckets - 1 - b.
char *rlhf_units_new(void *group, const at::Tensor *const *params, const size_t *buckets, const int64_t *begins, size_t n,
                     const at::Tensor *const *parts, const at::Tensor *const *sums, size_t n_buckets, void **out) {
  return guarded([&] {
    c10::AutoGradMode no_grad(false);
    auto made = c10::make_intrusive<Units>(Exchange(group_of(group), list(params, n), buckets, begins, list(sums, n_buckets)));
    auto &exchange = made->exchange;
    for (size_t unit = 0; unit < n_buckets; ++unit) {
      auto &u = made->units[unit];
      u.part = *parts[n_buckets - 1 - unit];
      u.flat = at::zeros({u.part.numel() * exchange.group->getSize()}, u.part.options());
      for (size_t p : made->bucket(unit).params) {
        auto &param = exchange.params[p];
        at::Tensor place = u.flat.detach().narrow(0, exchange.begins[p], param.numel()).view(param.sizes());
        place.copy_(param.detach());
        param.set_data(place);
      }
      std::vector<at::Tensor> all{u.flat};
      exchange.group->broadcast(all)->wait();
      u.part.copy_(u.flat.narrow(0, made->begin_of_own(u), u.part.numel()));
      made->release(unit);
    }
    *out = new UnitsPtr(made);
  });
}

void rlhf_units_root(void *units) noexcept { units_of(units)->root(); }

// Before unit's forward pass: x, from which it is to start.
char *rlhf_units_enter(void *units, size_t unit, const at::Tensor *x, at::Tensor **out) {
  return guarded([&] {
    auto &u = units_of(units);
    u->enter(unit);
    *out = new at::Tensor(learns(*x) ? Entrance::apply(*x, int64_t(unit), u) : *x);
  });
}

// After it: what it has made.
char *rlhf_units_leave(void *units, size_t unit, const at::Tensor *x, at::Tensor **out) {
  return guarded([&] {
    auto &u = units_of(units);
    u->leave(unit, learns(*x));
    *out = new at::Tensor(learns(*x) ? Exit::apply(*x, int64_t(unit), u) : *x);
  });
}

char *rlhf_units_begin(void *units) {
  return guarded([&] { units_of(units)->begin(); });
}

char *rlhf_units_finish(void *units) {
  return guarded([&] { units_of(units)->finish(); });
}

void rlhf_units_idle_forward(void *units, int learns) noexcept { units_of(units)->idle_forward(learns != 0); }

char *rlhf_units_idle_backward(void *units) {
  return guarded([&] { units_of(units)->idle_backward(); });
}

void rlhf_units_hold(void *units, int keep) noexcept { units_of(units)->hold(keep != 0); }

void rlhf_units_let_go(void *units) noexcept { units_of(units)->let_go(); }

char *rlhf_units_store(void *units) {
  return guarded([&] { units_of(units)->store(); });
}

char *rlhf_units_fetch(void *units, size_t unit, size_t param, at::Tensor **out) {
  return guarded([&] { *out = new at::Tensor(units_of(units)->fetch(unit, param)); });
}

void rlhf_units_free(void *units) noexcept {
  try {
    delete static_cast<UnitsPtr *>(units);
  } catch (...) { // as of the reducer
  }
}

} // extern "C"

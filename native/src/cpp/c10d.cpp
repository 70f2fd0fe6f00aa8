// libtorch's own engine for several processes, c10d: the store in which they meet, the group with its collectives (Gloo on CPUs, NCCL on GPUs), and
// the reducer of PyTorch's DistributedDataParallel, which sums gradients while the backward pass is still at work.
//
// As in shim.cpp: functions return NULL or a message allocated with malloc, and no exception crosses into Rust.
//
// libtorch ships ProcessGroupGloo without the headers of Gloo. Its class holds Gloo's objects by pointer only, so declarations suffice (gloo/), and the
// sizes below, read off libtorch's own allocations, say that the layout is the library's. Another libtorch may have another: then this does not compile.

#include "c10d.h"

#include <c10/util/Logging.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>
#ifdef RLHF_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <cstdlib>

static_assert(sizeof(c10d::ProcessGroupGloo) == 488, "another libtorch: read the size of ProcessGroupGloo off its operator new again");
static_assert(sizeof(c10d::ProcessGroupGloo::Options) == 184, "another libtorch: read the size of ProcessGroupGloo::Options again");
#ifdef RLHF_NCCL
static_assert(sizeof(c10d::ProcessGroupNCCL) == 1152, "another libtorch: read the size of ProcessGroupNCCL off its operator new again");
static_assert(sizeof(c10d::ProcessGroupNCCL::Options) == 256, "another libtorch: read the size of ProcessGroupNCCL::Options again");
#endif

namespace {

using Millis = std::chrono::milliseconds;
using StorePtr = c10::intrusive_ptr<c10d::Store>;

StorePtr &store_of(void *handle) { return *static_cast<StorePtr *>(handle); }

// Sums buckets of gradients; the reducer's own hook would divide by the number of processes.
struct SumHook : c10d::CppCommHookInterface<GroupPtr> {
  using CppCommHookInterface::CppCommHookInterface;
  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket &bucket) override {
    Tensors tensors{bucket.getBufferRef()};
    return state_->allreduce(tensors)->getFuture();
  }
};

struct Gradients {
  GroupPtr group; // outlives the reducer
  std::unique_ptr<c10d::Reducer> reducer;
};

} // namespace

extern "C" {

// libtorch's log lines follow TORCH_CPP_LOG_LEVEL only after this; unless the user says otherwise, errors are enough: a client that waits for its
// store would fill the terminal with warnings.
void rlhf_init_logging() {
  setenv("TORCH_CPP_LOG_LEVEL", "ERROR", /*overwrite=*/0);
  c10::initLogging();
}

// The store at host:port. Who serves it does not wait for the others; port 0 takes a free one. Clients retry until the server is there.
char *rlhf_store_open(const char *host, uint16_t port, int serve, int64_t timeout_ms, const char *prefix, void **out, uint16_t *port_out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serve != 0;
    options.waitWorkers = false;
    options.timeout = Millis(timeout_ms);
    auto tcp = c10::make_intrusive<c10d::TCPStore>(std::string(host), options);
    *port_out = tcp->getPort();
    *out = new StorePtr(c10::make_intrusive<c10d::PrefixStore>(std::string(prefix), tcp));
  });
}

void rlhf_store_free(void *store) noexcept { delete static_cast<StorePtr *>(store); }

char *rlhf_store_set(void *store, const char *key, const uint8_t *value, size_t n) {
  return guarded([&] { store_of(store)->set(key, std::vector<uint8_t>(value, value + n)); });
}

// Waits for the key, at most timeout_ms, and hands its value to `take`.
char *rlhf_store_get(void *store, const char *key, int64_t timeout_ms, void (*take)(void *, const uint8_t *, size_t), void *context) {
  return guarded([&] {
    auto &s = store_of(store);
    s->wait({key}, Millis(timeout_ms));
    auto value = s->get(key);
    take(context, value.data(), value.size());
  });
}

// Is the key there? Answers at once.
char *rlhf_store_check(void *store, const char *key, int *out) {
  return guarded([&] { *out = store_of(store)->check({key}); });
}

// Joins the group. `address` is the interface's own address, or with `is_interface` its name.
char *rlhf_group_join(void *store, int rank, int size, int64_t timeout_ms, const char *address, int is_interface, int cuda, void **out) {
  return guarded([&] {
    auto &s = store_of(store);
    auto gloo_store = c10::make_intrusive<c10d::PrefixStore>("gloo", s);
    auto options = c10d::ProcessGroupGloo::Options::create(Millis(timeout_ms));
    options->devices.push_back(is_interface ? c10d::ProcessGroupGloo::createDeviceForInterface(address)
                                            : c10d::ProcessGroupGloo::createDeviceForHostname(address));
    auto gloo = c10::make_intrusive<c10d::ProcessGroupGloo>(gloo_store, rank, size, options);
    auto group = c10::make_intrusive<c10d::ProcessGroup>(s, rank, size);
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::GLOO, gloo);
    group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
    if (cuda) {
#ifdef RLHF_NCCL
      auto nccl_options = c10d::ProcessGroupNCCL::Options::create();
      nccl_options->timeout = Millis(timeout_ms);
      auto nccl_store = c10::make_intrusive<c10d::PrefixStore>("nccl", s);
      auto nccl = c10::make_intrusive<c10d::ProcessGroupNCCL>(nccl_store, rank, size, nccl_options);
      group->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::BackendType::NCCL, nccl);
#else
      TORCH_CHECK(false, "this build has no NCCL: build with --features native/nccl, or train on CPUs");
#endif
    }
    group->setGroupName("rlhf");
    *out = new GroupPtr(group);
  });
}

void rlhf_group_free(void *group) noexcept { delete static_cast<GroupPtr *>(group); }

// Sums (op 0) or takes the largest (op 1) of tensors of one type and device over all processes, in place, in one exchange.
char *rlhf_group_all_reduce(void *group, const at::Tensor *const *tensors, size_t n, int op) {
  return guarded([&] {
    if (n == 0) return;
    auto all = list(tensors, n);
    auto kind = op == 0 ? c10d::ReduceOp::SUM : c10d::ReduceOp::MAX;
    auto &g = group_of(group);
    if (n == 1) {
      c10d::AllreduceOptions options;
      options.reduceOp = kind;
      g->allreduce(all, options)->wait();
    } else {
      c10d::AllreduceCoalescedOptions options;
      options.reduceOp = kind;
      g->allreduce_coalesced(all, options)->wait();
    }
  });
}

char *rlhf_group_broadcast(void *group, const at::Tensor *const *tensors, size_t n, int root) {
  return guarded([&] {
    auto all = list(tensors, n);
    if (n > 0) c10d::broadcast_coalesced(group_of(group), all, 250 << 20, root);
  });
}

// [n] of every process to [size * n], in the order of ranks.
char *rlhf_group_all_gather(void *group, const at::Tensor *out, const at::Tensor *in) {
  return guarded([&] {
    at::Tensor to = *out, from = *in;
    group_of(group)->all_gather_single(to, from)->wait();
  });
}

// [size * n] of every process to the sum's part [n] of this one.
char *rlhf_group_reduce_scatter(void *group, const at::Tensor *out, const at::Tensor *in) {
  return guarded([&] {
    at::Tensor to = *out, from = *in;
    group_of(group)->reduce_scatter_single(to, from)->wait();
  });
}

char *rlhf_group_barrier(void *group) {
  return guarded([&] { group_of(group)->barrier()->wait(); });
}

// Hooks on the parameters' gradients. Buckets hold about bucket_bytes, the first one to be ready first_bytes.
char *rlhf_reducer_new(void *group, const at::Tensor *const *params, size_t n, int64_t bucket_bytes, int64_t first_bytes, void **out) {
  return guarded([&] {
    auto all = list(params, n);
    auto made = std::make_unique<Gradients>();
    made->group = group_of(group);
    c10d::verify_params_across_processes(made->group, all, std::nullopt);
    std::vector<bool> sparse(n, false);
    auto [buckets, limits] =
        c10d::compute_bucket_assignment_by_size(all, {static_cast<size_t>(first_bytes), static_cast<size_t>(bucket_bytes)}, sparse);
    std::reverse(buckets.begin(), buckets.end()); // gradients are ready from the last layer to the first
    made->reducer = std::make_unique<c10d::Reducer>(all, std::move(buckets), made->group, std::move(sparse), bucket_bytes,
                                                    /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/false,
                                                    std::unordered_map<size_t, std::string>{}, first_bytes,
                                                    /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
                                                    std::vector<int64_t>{});
    made->reducer->register_comm_hook(std::make_unique<SumHook>(made->group));
    *out = made.release();
  });
}

// The next backward pass ends with summed gradients. It must reach every parameter.
char *rlhf_reducer_arm(void *gradients) {
  return guarded([&] {
    auto &reducer = *static_cast<Gradients *>(gradients)->reducer;
    reducer.prepare_for_forward();
    reducer.rebuild_buckets();
    reducer.prepare_for_backward({});
  });
}

void rlhf_reducer_free(void *gradients) noexcept {
  try {
    delete static_cast<Gradients *>(gradients);
  } catch (...) { // the reducer's destructor may throw after a failed exchange; the process is on its way out then
  }
}

} // extern "C"

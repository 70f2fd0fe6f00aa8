// Memory for large tensors on the CPU: pieces of one range of addresses, which stay mapped when they are freed and join their free neighbours. By malloc a training step is a fourth
// larger: huge pages are asked for at multiples of their size there, so each tensor leaves the rest of its last one unused. Here the range consists of huge pages, wherever in
// it a tensor begins.

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <sys/mman.h>
#include <unistd.h>

#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

namespace {

constexpr size_t PAGE = 4096, STEP = 32 << 20; // pieces are whole pages; the range becomes usable by steps
constexpr size_t LARGE = 256 << 10;            // smaller ones go to malloc

class Arena {
public:
  // Four times the machine's memory, so that there is room between what is taken; less where a process may not have so many addresses. Null where the system has none to give.
  static Arena *make() {
    const size_t memory = size_t(sysconf(_SC_PHYS_PAGES)) * size_t(sysconf(_SC_PAGESIZE));
    for (size_t size = 4 * memory / STEP * STEP; size >= memory / 2 && size >= STEP; size = size / 2 / STEP * STEP) {
      void *at = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (at == MAP_FAILED) continue;
#ifdef MADV_HUGEPAGE
      madvise(at, size, MADV_HUGEPAGE);
#endif
      return new Arena((char *)at, size);
    }
    return nullptr;
  }

  bool holds(const void *p) const { return p >= begin && p < begin + size; }

  // Null where there is no memory.
  void *take(size_t bytes) {
    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    const std::lock_guard<std::mutex> lock(mutex);
    auto fit = by_size.lower_bound({bytes, nullptr});
    if (fit == by_size.end()) {
      if (!grow(bytes)) return nullptr;
      fit = by_size.lower_bound({bytes, nullptr});
    }
    const auto [found, at] = *fit;
    drop(by_address.find(at));
    if (found > bytes) add(at + bytes, found - bytes);
    taken.emplace(at, bytes);
    return at;
  }

  void give_back(char *at) {
    const std::lock_guard<std::mutex> lock(mutex);
    const auto piece = taken.find(at);
    size_t bytes = piece->second;
    taken.erase(piece);
    add(at, bytes);
  }

  // Pages of what is free go back to the system, and come again when they are written.
  void release() {
    const std::lock_guard<std::mutex> lock(mutex);
    for (const auto &[at, bytes] : by_address) madvise(at, bytes, MADV_DONTNEED);
  }

private:
  char *const begin;
  const size_t size; // of the range
  char *end;         // of what is usable
  std::mutex mutex;
  std::map<char *, size_t> by_address; // free pieces, no two of them neighbours
  std::set<std::pair<size_t, char *>> by_size;
  std::unordered_map<char *, size_t> taken;

  Arena(char *begin, size_t size) : begin(begin), size(size), end(begin) {}

  void drop(std::map<char *, size_t>::iterator piece) {
    by_size.erase({piece->second, piece->first});
    by_address.erase(piece);
  }

  // A free piece, which joins its free neighbours.
  void add(char *at, size_t bytes) {
    auto next = by_address.lower_bound(at);
    if (next != by_address.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == at) {
        at = before->first, bytes += before->second;
        drop(before);
      }
    }
    if (next != by_address.end() && next->first == at + bytes) {
      bytes += next->second;
      drop(next);
    }
    by_address.emplace(at, bytes);
    by_size.emplace(bytes, at);
  }

  // Makes the piece at the end of what is usable at least so large.
  bool grow(size_t bytes) {
    size_t there = 0;
    if (!by_address.empty()) {
      const auto last = std::prev(by_address.end());
      if (last->first + last->second == end) there = last->second;
    }
    const size_t more = (bytes - there + STEP - 1) / STEP * STEP;
    if (more > size_t(begin + size - end) || mprotect(end, more, PROT_READ | PROT_WRITE)) return false;
    end += more;
    add(end - more, more);
    return true;
  }
};

Arena *arena = nullptr; // lives as long as the process

void let_go(void *p) {
  if (arena->holds(p)) {
    c10::profiledCPUMemoryReporter().Delete(p);
    arena->give_back((char *)p);
  } else {
    c10::GetDefaultCPUAllocator()->raw_deallocate(p);
  }
}

struct Large : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    void *p = n >= LARGE ? arena->take(n) : nullptr;
    if (p) c10::profiledCPUMemoryReporter().New(p, n);
    else p = c10::GetDefaultCPUAllocator()->raw_allocate(n);
    return {p, p, &let_go, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &let_go; }
  void copy_data(void *to, const void *from, size_t n) const override { default_copy_data(to, from, n); }
};

} // namespace

extern "C" {

// From now on large tensors on the CPU come from an arena. Before tensors and threads exist; a second call does nothing. 0 where there is none to be had.
int rlhf_arena_begin() {
  if (!arena) {
    arena = Arena::make();
    if (arena) c10::SetCPUAllocator(new Large, 1); // as the arena, it outlives what is freed at the end of the process
  }
  return arena != nullptr;
}

void rlhf_arena_release() {
  if (arena) arena->release();
}

} // extern "C"

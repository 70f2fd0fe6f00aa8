// Memory for what a function needs while it runs, kept for the next call: taken and freed among tensors that stay, it would leave holes that nothing else fits into,
// and pages that are mapped and zeroed again.
#pragma once

#include <c10/util/Exception.h>

#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

// One piece of it, at the start of a page. As many pieces are kept as were ever in use at once.
class Scratch {
public:
  explicit Scratch(size_t bytes) : piece(take(bytes)) {}
  Scratch(Scratch &&other) noexcept : piece(std::exchange(other.piece, Piece{})) {}
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  ~Scratch() {
    if (!piece.at) return;
    Pool &p = pool();
    const std::lock_guard<std::mutex> lock(p.mutex);
    p.idle.push_back(piece);
  }
  void *at() const { return piece.at; }

private:
  struct Piece {
    void *at = nullptr;
    size_t bytes = 0;
  };
  struct Pool {
    std::mutex mutex;
    std::vector<Piece> idle;
  };
  Piece piece;

  static Pool &pool() {
    static Pool &all = *new Pool; // lives as long as the process
    return all;
  }

  // The smallest idle piece that is large enough; where there is none, a new one takes the place of the largest.
  static Piece take(size_t bytes) {
    constexpr size_t huge = 2 << 20; // a huge page
    bytes = (std::max<size_t>(bytes, 1) + huge - 1) / huge * huge;
    Pool &p = pool();
    const std::lock_guard<std::mutex> lock(p.mutex);
    size_t best = p.idle.size(), largest = best;
    for (size_t i = 0; i < p.idle.size(); ++i) {
      const size_t size = p.idle[i].bytes;
      if (size >= bytes && (best == p.idle.size() || size < p.idle[best].bytes)) best = i;
      if (largest == p.idle.size() || size > p.idle[largest].bytes) largest = i;
    }
    const auto out = [&](size_t i) {
      const Piece piece = p.idle[i];
      p.idle.erase(p.idle.begin() + i);
      return piece;
    };
    if (best < p.idle.size()) return out(best);
    if (largest < p.idle.size()) {
      const Piece small = out(largest);
      munmap(small.at, small.bytes);
    }
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TORCH_CHECK(at != MAP_FAILED, "out of memory: ", bytes, " bytes for a product");
#ifdef MADV_HUGEPAGE
    madvise(at, bytes, MADV_HUGEPAGE);
#endif
    return Piece{at, bytes};
  }
};

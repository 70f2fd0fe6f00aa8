// See algorithm.h. Only pointers to it are held; the one call is made through a virtual function of libtorch's.
#pragma once

#include <chrono>

namespace gloo {

class Context {
 public:
  void setTimeout(std::chrono::milliseconds timeout);
};

} // namespace gloo

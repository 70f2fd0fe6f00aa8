// No C++ exception crosses into Rust: it becomes a message.
#pragma once

#include <cstring>
#include <exception>

// Runs `body` and returns NULL, or a message allocated with malloc that the caller frees.
template <class Body> static char *guarded(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

// No C++ exception crosses into Rust: it becomes a message.
#pragma once

#include <c10/util/Exception.h>

#include <cstring>
#include <exception>

// Runs `body` and returns NULL, or a message allocated with malloc that the caller frees.
template <class Body> static char *guarded(Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const c10::Error &e) { // its what() would add where in libtorch it was thrown
    return strdup(e.what_without_backtrace());
  } catch (const std::exception &e) {
    return strdup(e.what());
  } catch (...) {
    return strdup("unknown C++ exception");
  }
}

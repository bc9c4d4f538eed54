// Long work that shows how far it is and can be stopped between two steps: conversions, quantisers, downloads.
// Called by quant/, hub/ and engine/; cli/ gives the function.
#pragma once
#include <cstdint>
#include <functional>

#include "base/error.h"

namespace fathom {

/// The person stopped the work: exit code 130. Whoever passes it on leaves nothing half done behind.
class Interrupted : public Error {
 public:
  Interrupted() : Error("interrupted") {}
  int exit_code() const override { return 130; }
};

/// Called now and then with what is done of what total (bytes, or items); throws Interrupted to stop the work. Called
/// on the thread that started the work. Empty: nobody watches.
using WorkProgress = std::function<void(uint64_t done, uint64_t total)>;

}  // namespace fathom

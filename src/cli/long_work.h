// One piece of long work at the terminal: its progress bar, and Ctrl-C that stops it. One thread.
#pragma once
#include <string>

#include "base/work.h"
#include "cli/progress.h"

namespace fathom {

class LongWork {
 public:
  /// From here on Ctrl-C, SIGTERM and SIGHUP stop the work at its next step, and a second one ends the process.
  explicit LongWork(std::string what);
  /// Shows the bar; throws Interrupted after Ctrl-C.
  void step(uint64_t done, uint64_t total);
  /// step() as a function for the work; not beyond the life of this object.
  WorkProgress progress() {
    return [this](uint64_t done, uint64_t total) { step(done, total); };
  }
  void clear() { bar_.clear(); }

 private:
  ProgressBar bar_;
};

}  // namespace fathom

#include "cli/long_work.h"

#include "cli/interrupt.h"

namespace fathom {

LongWork::LongWork(std::string what) : bar_(std::move(what), terminal_of(2)) {
  catch_interrupts(/*impatient=*/true);
  catch_termination();
}

void LongWork::step(uint64_t done, uint64_t total) {
  if (interrupted().exchange(false)) throw Interrupted();
  bar_.show(done, total);
}

}  // namespace fathom

#include "cli/interrupt.h"

#include <signal.h>
#include <unistd.h>

namespace fathom {
namespace {

std::atomic<bool> g_interrupted{false}, g_resized{false}, g_impatient{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the handlers store to these");

void on_interrupt(int) {
  if (g_interrupted.exchange(true) && g_impatient) _exit(130);
}
void on_resize(int) { g_resized.store(true); }

}  // namespace

void catch_interrupts(bool impatient) {
  g_impatient = impatient;
  struct sigaction action {};
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  action.sa_handler = on_resize;
  sigaction(SIGWINCH, &action, nullptr);
}

void catch_termination() {
  struct sigaction action {
  }, present{};
  sigemptyset(&action.sa_mask);
  action.sa_handler = on_interrupt;
  for (const int request : {SIGTERM, SIGHUP})
    if (sigaction(request, nullptr, &present) == 0 && present.sa_handler != SIG_IGN)  // nohup ignores SIGHUP
      sigaction(request, &action, nullptr);
}

std::atomic<bool>& interrupted() { return g_interrupted; }
std::atomic<bool>& resized() { return g_resized; }

}  // namespace fathom

// Ctrl-C and changes of the window's size, as flags that others poll. Handlers are installed once, without SA_RESTART,
// so that a read at the terminal returns. The flags may be read from any thread.
#pragma once
#include <atomic>

namespace fathom {

/// Installs the handlers for SIGINT and SIGWINCH. `impatient`: a second Ctrl-C while the first is not yet taken ends
/// the process with 130.
void catch_interrupts(bool impatient);
/// SIGTERM and SIGHUP count as Ctrl-C from here on: for work that has a half-written file to remove.
void catch_termination();
/// Set by Ctrl-C; whoever acts on it clears it.
std::atomic<bool>& interrupted();
/// Set when the window's size changed.
std::atomic<bool>& resized();

}  // namespace fathom

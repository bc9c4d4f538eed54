// How a process that trains uses its heap. Called once, before the first step.
#pragma once

namespace fathom {

/// From here on freed memory stays with the process: each step allocates what the one before freed, and new pages from
/// the system cost their clearing (a tenth of the time of a step, docs/performance.md). Pieces above 32 MiB are given
/// back all the same. Does nothing where the C library is not glibc.
void keep_freed_memory();

}  // namespace fathom

// The probe loops of single instruction sets, for probe_loops.cc alone: running one on a CPU without it ends the
// process.
#pragma once
#include "kernels/probe_loops.h"

namespace fathom {

ProbeLoops avx2_probe_loops();
ProbeLoops avx512_probe_loops();
ProbeLoops neon_probe_loops(bool has_dotprod);

}  // namespace fathom

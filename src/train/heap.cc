#include "train/heap.h"

#include <malloc.h>

#include <limits>

namespace fathom {

void keep_freed_memory() {
#ifdef __GLIBC__
  constexpr int kMostOfHeap = 32 << 20;  // the largest threshold that glibc takes
  mallopt(M_MMAP_THRESHOLD, kMostOfHeap);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

}  // namespace fathom

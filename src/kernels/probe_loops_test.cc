#include "kernels/probe_loops.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace fathom {
namespace {

TEST(ProbeLoops, EveryTableHasTheUnitsThatItsProductsUse) {
  for (const Kernels* kernels : usable_kernels()) {
    const ProbeLoops& loops = probe_loops(*kernels);
    const bool simd = std::string_view(kernels->name) != "ref";
    EXPECT_EQ(loops.f32.run != nullptr, simd) << kernels->name;
    EXPECT_EQ(loops.int8.run != nullptr, simd) << kernels->name;
    EXPECT_EQ(loops.bf16.run != nullptr, simd && kernels->has_bf16) << kernels->name;
    EXPECT_NE(loops.nops.run, nullptr) << kernels->name;
  }
}

TEST(ProbeLoops, RunAnyNumberOfRounds) {
  std::vector<std::byte> data(3 * ProbeLoops::kReadStep, std::byte{1});
  for (const Kernels* kernels : usable_kernels()) {
    const ProbeLoops& loops = probe_loops(*kernels);
    for (const ProbeLoop* loop : {&loops.f32, &loops.int8, &loops.bf16, &loops.nops}) {
      if (!loop->run) continue;
      EXPECT_GT(loop->operations, 0) << kernels->name;
      for (const size_t rounds : {0, 1, 1000}) loop->run(rounds);
    }
    for (size_t n = 0; n <= data.size(); n += ProbeLoops::kReadStep) loops.read(data.data(), n);
  }
}

}  // namespace
}  // namespace fathom

#include "base/checksum.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/testing.h"

namespace fathom {
namespace {

std::span<const std::byte> bytes(const std::vector<uint8_t>& v) { return std::as_bytes(std::span(v)); }

/// What the repack cache relies on: no flipped bit and no lost byte goes unseen.
TEST(Checksum, EveryBitAndTheLengthCount) {
  for (const size_t n : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{200}}) {
    std::vector<uint8_t> v = testing::random_bytes(n, n);
    std::set<uint64_t> seen = {checksum(bytes(v)), checksum(bytes(v), 1)};
    for (size_t bit = 0; bit < 8 * n; ++bit) {
      v[bit / 8] = static_cast<uint8_t>(v[bit / 8] ^ 1 << bit % 8);
      seen.insert(checksum(bytes(v)));
      v[bit / 8] = static_cast<uint8_t>(v[bit / 8] ^ 1 << bit % 8);
    }
    v.push_back(0);
    seen.insert(checksum(bytes(v)));
    EXPECT_EQ(seen.size(), 8 * n + 3) << n;
  }
}

TEST(Checksum, IsTheSameOnEveryRun) {
  const std::vector<uint8_t> v(100, 7);
  EXPECT_EQ(checksum(bytes(v), 5), 14031921679920697670u)
      << "written into files: another value needs another version there";
}

}  // namespace
}  // namespace fathom

// Packing by several threads gives the bytes that one thread gives.
#include "kernels/weight.h"

#include <gtest/gtest.h>

#include "kernels/kernels_testing.h"
#include "tests/testing.h"

namespace fathom {
namespace {

Tensor random_matrix(DType type, size_t O, size_t K) {
  Tensor t = make_tensor(type, {O, K});
  const std::vector<uint8_t> bytes = testing::random_bytes(t.size_bytes(), 1);
  std::memcpy(t.bytes(), bytes.data(), bytes.size());
  return t;
}

void expect_same_on_any_threads(const Tensor& stored, const Tensor& scale_inv = {}) {
  const Weight want("w", stored, scale_inv);
  for (const size_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    const Weight got("w", stored, scale_inv, &pool);
    ASSERT_EQ(got.size_bytes(), want.size_bytes());
    EXPECT_EQ(0, std::memcmp(got.view().data, want.view().data, want.size_bytes()))
        << stored.dtype() << " " << stored.shape() << " " << threads << " threads";
  }
}

TEST(Weight, ThreadsPackTheSameBytes) {
  std::vector<DType> types = testing::int8_types();
  types.insert(types.end(), {DType::kF32, DType::kBF16, DType::kF64});
  for (const DType type : types) {
    expect_same_on_any_threads(random_matrix(type, 1, 512));
    expect_same_on_any_threads(random_matrix(type, 16 * 75 + 3, 512));
  }
  expect_same_on_any_threads(random_matrix(DType::kF8E4M3, 16 * 75 + 3, 512), zeros(DType::kF32, {10, 4}));
}

/// Large matrices are cut into larger pieces.
TEST(Weight, ThreadsPackTheSameBytesOfALargeMatrix) {
  expect_same_on_any_threads(random_matrix(DType::kQ8_0, 16 * 1100 + 1, 1024));
}

}  // namespace
}  // namespace fathom

#include "quant/fp8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tensor/dequantize.h"
#include "tensor/float_types.h"
#include "tests/testing.h"

namespace fathom {
namespace {

/// Nearest of the 127 finite magnitudes by exact comparison in double, ties to the even code.
uint8_t nearest(float x) {
  const double a = std::fabs(static_cast<double>(x));
  uint8_t best = 0;
  for (uint8_t code = 1; code <= 0x7e; ++code) {
    const double now = std::fabs(f32_from_f8e4m3(code) - a), before = std::fabs(f32_from_f8e4m3(best) - a);
    if (now < before || (now == before && code % 2 == 0)) best = code;
  }
  return static_cast<uint8_t>(best | (std::signbit(x) ? 0x80 : 0));
}

TEST(Fp8, RoundsToTheNearestOfAllValuesTiesToEven) {
  // Every value, every midpoint between two neighbours, and the floats just beside both: all places where the result
  // changes, and all where it must not.
  std::vector<float> x = {0, 0x1p-149f, 0x1p-126f, 447.99997f, 463.9f, 464, 464.1f, 480, 1e30f, INFINITY};
  for (uint8_t code = 0; code < 0x7e; ++code) {
    const float a = f32_from_f8e4m3(code), b = f32_from_f8e4m3(code + 1), middle = (a + b) / 2;
    for (float v : {a, b, middle, a + (b - a) / 4, a + (b - a) * 0.75f})
      for (float w : {v, std::nextafter(v, -INFINITY), std::nextafter(v, INFINITY)}) x.push_back(w);
  }
  for (float magnitude : x)
    for (float v : {magnitude, -magnitude}) {
      const uint8_t want = std::isinf(v) ? static_cast<uint8_t>(0x7e | (std::signbit(v) ? 0x80 : 0)) : nearest(v);
      EXPECT_EQ(want, f8e4m3_from_f32(v)) << v;
    }
}

TEST(Fp8, EveryHalfPrecisionValueIsRoundedRight) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const float x = f32_from_f16(static_cast<uint16_t>(h));
    if (std::isnan(x)) {
      EXPECT_EQ(0x7f, f8e4m3_from_f32(x) & 0x7f);
    } else if (std::isfinite(x)) {
      ASSERT_EQ(nearest(x), f8e4m3_from_f32(x)) << x;
    }
  }
}

TEST(Fp8, KnownExamples) {
  EXPECT_EQ(0x38, f8e4m3_from_f32(1));
  EXPECT_EQ(0x40, f8e4m3_from_f32(2));
  EXPECT_EQ(0x3c, f8e4m3_from_f32(1.5f));
  EXPECT_EQ(0x01, f8e4m3_from_f32(0.001953125f));
  EXPECT_EQ(0x08, f8e4m3_from_f32(0.015625f));
  EXPECT_EQ(0xb8, f8e4m3_from_f32(-1));
  EXPECT_EQ(0x7e, f8e4m3_from_f32(1000));
  EXPECT_EQ(0xff, f8e4m3_from_f32(-NAN) | 0x80);
}

/// The whole matrix in stripes, as conversion does it.
Tensor through_fp8(const std::vector<float>& x, size_t rows, size_t columns) {
  const size_t across = (columns + 127) / 128;
  Tensor values = make_tensor(DType::kF8E4M3, {rows, columns});
  Tensor scales = make_tensor(DType::kF32, {(rows + 127) / 128, across});
  for (size_t r = 0; r < rows; r += 128) {
    const size_t n = std::min<size_t>(128, rows - r);
    float* scale = scales.data<float>() + r / 128 * across;
    EXPECT_TRUE(fp8_block_scales(x.data() + r * columns, n, columns, scale));
    fp8_block_values(x.data() + r * columns, n, columns, scale,
                     reinterpret_cast<uint8_t*>(values.bytes()) + r * columns);
  }
  return dequantize(values, scales);
}

TEST(Fp8, ErrorsStayWithinHalfAStep) {
  const size_t rows = 200, columns = 333;  // ragged blocks at both edges
  std::vector<float> x = testing::random_floats(rows * columns, 1);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= i % 7 ? 1 : 1e-3f;
  const Tensor y = through_fp8(x, rows, columns);
  float most[2][3] = {};
  const auto block = [&](size_t r, size_t c) -> float& { return most[r / 128][c / 128]; };
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c) block(r, c) = std::max(block(r, c), std::fabs(x[r * columns + c]));
  for (size_t r = 0; r < rows; ++r)
    for (size_t c = 0; c < columns; ++c) {
      const float v = x[r * columns + c], got = y.data<float>()[r * columns + c], scale = block(r, c) / 448;
      // relative 2^-4 for normal values, half of the subnormal step 2^-9 below
      ASSERT_LE(std::fabs(got - v), std::max(std::fabs(v) * 0x1p-4f, scale * 0x1p-10f) * 1.00001f);
      ASSERT_LE(std::fabs(got), block(r, c) * 1.00001f);
    }
}

TEST(Fp8, WhatFp8HoldsComesBackAlike) {
  const size_t rows = 130, columns = 129;
  std::vector<float> x(rows * columns);
  for (size_t i = 0; i < x.size(); ++i) x[i] = f32_from_f8e4m3(static_cast<uint8_t>(i * 37 % 127)) * 0.25f;
  for (size_t r : {0, 128})
    for (size_t c : {0, 128}) x[r * columns + c] = 112;  // each block has its largest value: scale 0.25
  const Tensor y = through_fp8(x, rows, columns);
  for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(x[i], y.data<float>()[i]) << i;
}

TEST(Fp8, ZerosTinyAndInfiniteBlocks) {
  std::vector<float> x(256, 0), scale(2);
  x[200] = 0x1p-149f;
  ASSERT_TRUE(fp8_block_scales(x.data(), 1, 256, scale.data()));
  EXPECT_EQ(1, scale[0]);
  EXPECT_EQ(0x1p-126f, scale[1]);
  for (float bad : {INFINITY, -INFINITY, NAN}) {
    x[3] = bad;
    EXPECT_FALSE(fp8_block_scales(x.data(), 1, 256, scale.data()));
  }
}

TEST(Fp8, ProjectionsAloneAreFp8) {
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.weight", "model.layers.61.self_attn.kv_a_proj_with_mqa.weight",
        "model.layers.3.mlp.experts.17.down_proj.weight", "model.layers.3.mlp.shared_experts.up_proj.weight"})
    EXPECT_TRUE(is_fp8_matrix(name)) << name;
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight",
                           "model.layers.3.mlp.gate.weight", "model.layers.61.eh_proj.weight",
                           "model.layers.0.self_attn.q_a_layernorm.weight", "model.layers.0.self_attn.q_proj.bias",
                           "model.layers.61.shared_head.head.weight", "model.layers.61.embed_tokens.weight"})
    EXPECT_FALSE(is_fp8_matrix(name)) << name;
}

}  // namespace
}  // namespace fathom

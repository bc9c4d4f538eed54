// Products: every table equals ref bit for bit, and ref agrees with double precision.
#include "kernels/ref/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "kernels/backend.h"
#include "kernels/kernels_testing.h"
#include "kernels/ref/int8_blocks.h"
#include "tensor/dequantize.h"
#include "tensor/float_types.h"

namespace fathom {
namespace {

using testing::random_floats;
using testing::same_bits;
using testing::test_activations;
using testing::TestRows;
using testing::TestWeight;

/// Outputs of one call into a canvas of a known value, so that a write outside the range shows.
std::vector<float> exact(const Kernels& k, const TestWeight& w, const std::vector<float>& x, size_t T, size_t x_stride,
                         size_t begin, size_t end) {
  const size_t stride = w.view.O + 3;
  std::vector<float> y(T * stride + 16, -7.0f);
  k.linear_exact(y.data(), stride, w.view, begin, end, x.data(), x_stride, T);
  return y;
}
std::vector<float> int8(const Kernels& k, const TestWeight& w, const TestRows& x, size_t T, size_t begin, size_t end) {
  const size_t stride = w.view.O + 3;
  std::vector<float> y(T * stride + 16, -7.0f), plain = y;
  k.linear_int8(plain.data(), stride, w.view, begin, end, x.view, T);
  const std::vector<std::byte> tiles = testing::tiles_of(k, x.view, T, w.view.K);
  QuantizedRows rows = x.view;
  rows.tiles = tiles.empty() ? nullptr : tiles.data();
  k.linear_int8(y.data(), stride, w.view, begin, end, rows, T);
  EXPECT_TRUE(same_bits(y, plain)) << k.name << ": with tiles and without";
  return y;
}
std::vector<float> bf16(const Kernels& k, const TestWeight& w, const std::vector<uint16_t>& x, size_t T, size_t begin,
                        size_t end) {
  const size_t stride = w.view.O + 3;
  std::vector<float> y(T * stride + 16, -7.0f);
  k.linear_bf16(y.data(), stride, w.view, begin, end, x.data(), T);
  return y;
}

/// Values of K to try for a type: tails of single values where blocks allow them, and more than one slice of 256.
std::vector<size_t> some_k(DType type) {
  switch (info(type).block_size) {
    case 1: return {0, 1, 2, 3, 17, 67, 255, 256, 259, 513};
    case 32: return {0, 32, 64, 96, 224, 256, 288, 544};
    default: return {0, 256, 512, 768};
  }
}

TEST(Linear, ExactEqualsRefForEveryTypeAndTail) {
  for (const DType type : testing::weight_types())
    for (const size_t K : some_k(type))
      for (const size_t O : {1, 15, 16, 17, 49})
        for (const size_t T : {1, 2, 5, 13}) {
          const TestWeight w(type, O, K, 10 + K + O);
          const std::vector<float> x = test_activations(T * (K + 5), T + O);
          const std::vector<float> want = exact(ref_kernels(), w, x, T, K + 5, 0, w.view.panels());
          for (const Kernels* k : testing::other_tables())
            ASSERT_TRUE(same_bits(exact(*k, w, x, T, K + 5, 0, w.view.panels()), want))
                << k->name << " " << type << " K=" << K << " O=" << O << " T=" << T;
        }
}

TEST(Linear, ExactEqualsRefForEveryCountOfRowsAndOutputs) {
  for (const DType type : {DType::kF32, DType::kBF16, DType::kQ4_1})
    for (size_t O = 1; O <= 49; O += type == DType::kF32 ? 1 : 6)
      for (size_t T = 0; T <= 33; T += type == DType::kF32 ? 1 : 4) {
        const size_t K = 32;
        const TestWeight w(type, O, K, O);
        const std::vector<float> x = test_activations(T * K, T);
        const std::vector<float> want = exact(ref_kernels(), w, x, T, K, 0, w.view.panels());
        for (const Kernels* k : testing::other_tables())
          ASSERT_TRUE(same_bits(exact(*k, w, x, T, K, 0, w.view.panels()), want))
              << k->name << " " << type << " O=" << O << " T=" << T;
      }
}

TEST(Linear, ExactEqualsRefForArbitraryBytesAndActivations) {
  for (const DType type : testing::weight_types())
    for (const size_t shift : {0, 1, 3}) {
      const size_t K = 512, O = 33, T = 7;
      const TestWeight w(type, O, K, 5 + shift, /*wild=*/true,
                         info(type).block_size == 1 && type == DType::kF32 ? 4 * shift : shift);
      const std::vector<float> x = test_activations(T * K, 3, /*wild=*/true);
      const std::vector<float> want = exact(ref_kernels(), w, x, T, K, 0, 3);
      for (const Kernels* k : testing::other_tables())
        ASSERT_TRUE(same_bits(exact(*k, w, x, T, K, 0, 3), want)) << k->name << " " << type;
    }
}

/// T: tiles of 1 to 8 rows that read packed groups, and more rows than these take.
TEST(Linear, Int8EqualsRefForEveryTypeAndTail) {
  for (const DType type : testing::int8_types())
    for (const size_t K : some_k(type))
      for (const size_t O : {1, 16, 31, 49})
        for (const size_t T : {1, 3, 4, 13, 17}) {
          const TestWeight w(type, O, K, 10 + K + O);
          const TestRows x(ref_kernels(), test_activations(T * K, T + O), T, K, int8_block(type));
          const std::vector<float> want = int8(ref_kernels(), w, x, T, 0, w.view.panels());
          for (const Kernels* k : testing::other_tables())
            ASSERT_TRUE(same_bits(int8(*k, w, x, T, 0, w.view.panels()), want))
                << k->name << " " << type << " K=" << K << " O=" << O << " T=" << T;
        }
}

TEST(Linear, Int8EqualsRefForEveryCountOfRowsAndOutputs) {
  for (const DType type : {DType::kQ8_0, DType::kQ4_K})
    for (size_t O = 1; O <= 49; O += 4)
      for (size_t T = 0; T <= 33; T += 3) {
        const size_t K = 256;
        const TestWeight w(type, O, K, O);
        const TestRows x(ref_kernels(), test_activations(T * K, T), T, K, int8_block(type));
        const std::vector<float> want = int8(ref_kernels(), w, x, T, 0, w.view.panels());
        for (const Kernels* k : testing::other_tables())
          ASSERT_TRUE(same_bits(int8(*k, w, x, T, 0, w.view.panels()), want)) << k->name << " O=" << O << " T=" << T;
      }
}

TEST(Linear, Int8EqualsRefForArbitraryBytesAndActivations) {
  for (const DType type : testing::int8_types())
    for (const size_t shift : {0, 1, 3}) {
      const size_t K = 512, O = 33, T = shift == 0 ? 17 : 7;
      const TestWeight w(type, O, K, 5 + shift, /*wild=*/true, shift);
      const TestRows x(ref_kernels(), test_activations(T * K, 3, /*wild=*/true), T, K, int8_block(type));
      const std::vector<float> want = int8(ref_kernels(), w, x, T, 0, 3);
      for (const Kernels* k : testing::other_tables())
        ASSERT_TRUE(same_bits(int8(*k, w, x, T, 0, 3), want)) << k->name << " " << type;
    }
}

/// All weight bytes one value and all activations at an end of the range: the largest sums that a type allows.
TEST(Linear, Int8EqualsRefAtTheExtremesOfEveryType) {
  for (const DType type : testing::int8_types())
    for (const uint8_t byte : {0x00, 0x7f, 0x80, 0xff, 0xf0, 0x0f})
      for (const float sign : {1.0f, -1.0f}) {
        const size_t K = 256, O = 16, T = byte % 2 ? 17 : 3;
        TestWeight w(type, O, K, 1);
        std::fill(w.blocks.begin(), w.blocks.end(), byte);
        const testing::ScaleOffsets at = testing::scale_offsets(type);
        for (size_t b = 0; b < w.blocks.size(); b += info(type).block_bytes)
          for (const int offset : {at.d, at.m})
            if (offset >= 0) w.blocks[b + offset] = 0x12, w.blocks[b + offset + 1] = 0x2a;
        w.pack();
        const TestRows x(ref_kernels(), std::vector<float>(T * K, sign), T, K, int8_block(type));
        ASSERT_EQ(x.q[0], sign > 0 ? 127 : -127);
        const std::vector<float> want = int8(ref_kernels(), w, x, T, 0, 1);
        for (const Kernels* k : testing::other_tables())
          ASSERT_TRUE(same_bits(int8(*k, w, x, T, 0, 1), want)) << k->name << " " << type << " byte " << int{byte};
      }
}

/// An independent formulation: the type's values (dequantize) times d q in double.
TEST(Linear, Int8RefAgreesWithDequantisedValues) {
  for (const DType type : testing::int8_types()) {
    const size_t K = 512, O = 16, T = 2, block = int8_block(type);
    TestWeight w(type, O, K, 77);
    const TestRows x(ref_kernels(), random_floats(T * K, 3), T, K, block);
    const std::vector<float> y = int8(ref_kernels(), w, x, T, 0, 1);
    for (size_t r = 0; r < O; ++r) {
      std::vector<float> values(K);
      for (size_t b = 0; b < K / block; ++b)
        dequantize(type, reinterpret_cast<const std::byte*>(w.block(r, b)), values.data() + b * block, block);
      for (size_t t = 0; t < T; ++t) {
        double sum = 0, size = 0;
        for (size_t k = 0; k < K; ++k) {
          const double term = static_cast<double>(values[k]) * x.q[t * K + k] * x.d[t * (K / block) + k / block];
          sum += term, size += std::fabs(term);
        }
        EXPECT_NEAR(y[t * (O + 3) + r], sum, 1e-5 * size + 1e-30) << type << " row " << r;
      }
    }
  }
}

TEST(Linear, ExactRefAgreesWithDouble) {
  for (const DType type : testing::weight_types()) {
    const size_t K = 512, O = 20, T = 2, block = info(type).block_size;
    TestWeight w(type, O, K, 78);
    const std::vector<float> x = random_floats(T * K, 3), y = exact(ref_kernels(), w, x, T, K, 0, 2);
    for (size_t o = 0; o < O; ++o)
      for (size_t t = 0; t < T; ++t) {
        double sum = 0, size = 0;
        for (size_t b = 0; b < K / block; ++b) {
          std::vector<float> values(block);
          dequantize(type, reinterpret_cast<const std::byte*>(w.block(o, b)), values.data(), block);
          for (size_t i = 0; i < block; ++i) {
            const size_t k = b * block + i;
            const double scale = w.view.scale_inv ? w.view.scale_inv[o / 128 * (K / 128) + k / 128] : 1.0;
            const double term = static_cast<double>(values[i]) * scale * x[t * K + k];
            sum += term, size += std::fabs(term);
          }
        }
        EXPECT_NEAR(y[t * (O + 3) + o], sum, 1e-5 * size + 1e-30) << type << " output " << o;
      }
  }
}

TEST(Linear, Bf16EqualsRefWhereTheUnitIs) {
  const Kernels* table = nullptr;
  for (const Kernels* k : testing::other_tables())
    if (k->has_bf16) table = k;
  if (!table) GTEST_SKIP() << "needs a processor with AVX512_BF16";
  for (const DType type : testing::weight_types())
    for (const bool wild : {false, true})
      for (const size_t K : some_k(type))
        for (const size_t T : {1, 4, 13}) {
          const size_t O = 1 + (K * 7 + T * 5) % 49;
          const TestWeight w(type, O, K, K + T, wild);
          const std::vector<float> x = test_activations(T * K, T, wild);
          std::vector<uint16_t> rounded(T * K);
          ref_kernels().round_bf16(rounded.data(), x.data(), x.size());
          ASSERT_TRUE(same_bits(bf16(*table, w, rounded, T, 0, w.view.panels()),
                                bf16(ref_kernels(), w, rounded, T, 0, w.view.panels())))
              << type << " K=" << K << " T=" << T << " O=" << O << (wild ? " wild" : "");
        }
}

/// Law 2: what a row computes depends neither on the others in the batch nor on how panels are split.
TEST(Linear, BitsDependNeitherOnTheBatchNorOnTheSplit) {
  const size_t K = 512, O = 70, T = 11;
  for (const Kernels* k : usable_kernels())
    for (const DType type : {DType::kF32, DType::kQ4_0, DType::kQ8_0, DType::kQ6_K}) {
      const TestWeight w(type, O, K, 4);
      const size_t panels = w.view.panels(), block = int8_block(type) ? int8_block(type) : 32, stride = O + 3;
      const std::vector<float> x = random_floats(T * K, 9);
      const TestRows xq(*k, x, T, K, block);
      const std::vector<float> whole = exact(*k, w, x, T, K, 0, panels);
      const std::vector<float> whole_q = int8_block(type) ? int8(*k, w, xq, T, 0, panels) : whole;
      for (size_t t = 0; t < T; ++t)
        for (size_t p = 0; p < panels; ++p) {
          const std::vector<float> row(x.begin() + static_cast<ptrdiff_t>(t * K),
                                       x.begin() + static_cast<ptrdiff_t>((t + 1) * K));
          const std::vector<float> y = exact(*k, w, row, 1, K, p, p + 1);
          const TestRows one(*k, row, 1, K, block);
          const std::vector<float> yq = int8_block(type) ? int8(*k, w, one, 1, p, p + 1) : y;
          for (size_t o = 0; o < O; ++o) {
            const bool mine = o / kPanelRows == p;
            ASSERT_EQ(y[o], mine ? whole[t * stride + o] : -7.0f) << k->name << " " << type;
            ASSERT_EQ(yq[o], mine ? whole_q[t * stride + o] : -7.0f) << k->name << " " << type;
          }
        }
    }
}

TEST(Linear, DoubleTemplateAgreesWithAPlainSum) {
  const size_t T = 3, K = 21, O = 19;
  std::vector<double> panels(32 * K), x(T * K), y(T * O);
  for (size_t i = 0; i < panels.size(); ++i) panels[i] = std::sin(1.0 + static_cast<double>(i));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::cos(2.0 * static_cast<double>(i));
  ref::linear(y.data(), panels.data(), x.data(), T, K, O);
  for (size_t t = 0; t < T; ++t)
    for (size_t o = 0; o < O; ++o) {
      double sum = 0;
      for (size_t k = 0; k < K; ++k) sum += panels[(o / 16 * K + k) * 16 + o % 16] * x[t * K + k];
      EXPECT_NEAR(y[t * O + o], sum, 1e-12);
    }
}

TEST(Linear, QuantizeRowsEqualsRefAndTheFormula) {
  for (const size_t block : {32, 256})
    for (const size_t K : {16, 32, 48, 256, 272, 528, 576})
      for (const bool wild : {false, true}) {
        const size_t T = 5, blocks = (K + block - 1) / block;
        std::vector<float> x = test_activations(T * K, K + block, wild);
        for (size_t i = 0; i < K; ++i) x[i] = static_cast<float>(i % 5) * 0x1p-101f;       // around the threshold
        for (size_t i = K; i < 2 * K; ++i) x[i] = (static_cast<float>(i % 9) - 4) * 0.5f;  // ties
        const TestRows want(ref_kernels(), x, T, K, block);
        for (const Kernels* k : testing::other_tables()) {
          const TestRows got(*k, x, T, K, block);
          ASSERT_EQ(got.q, want.q) << k->name << " K=" << K;
          ASSERT_EQ(got.sums, want.sums) << k->name << " K=" << K;
          ASSERT_TRUE(same_bits(got.d, want.d)) << k->name << " K=" << K;
        }
        for (size_t i = 0; i < T * K; ++i) {
          const float dx = want.d[i / K * blocks + i % K / block];
          if (std::isnan(dx) || dx == 0)
            ASSERT_EQ(want.q[i], 0);
          else
            ASSERT_NEAR(want.q[i] * static_cast<double>(dx), x[i], 0.5001 * static_cast<double>(dx));
        }
      }
}

TEST(Linear, RoundBf16EqualsTheConversion) {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 65521)
    x.push_back(f32_from_bits(static_cast<uint32_t>(bits)));
  for (const uint32_t bits :
       {0x3f808000u, 0x3f818000u, 0x7f7fffffu, 0x7f800000u, 0x7f800001u, 0xffc12345u, 0x00008000u})
    x.push_back(f32_from_bits(bits));
  for (const Kernels* k : usable_kernels()) {
    std::vector<uint16_t> y(x.size());
    k->round_bf16(y.data(), x.data(), x.size());
    for (size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], bf16_from_f32(x[i])) << k->name << " " << x[i];
  }
}

/// The backend's products of parts of an operand, as experts take them: the bits of ref, whichever rows were put side
/// by side for whom.
TEST(Linear, BackendMultipliesAnyPartOfAnOperand) {
  const size_t K = 544, T = 90, O = 70;  // two slices of k, and a short one
  const Tensor x = from_values(test_activations(T * K, 1), {T, K});
  for (const DType type : {DType::kQ8_0, DType::kQ4_1, DType::kQ4_K}) {
    const size_t k = int8_block(type) == 32 ? K : 512;
    std::vector<Weight> packed;
    for (const uint64_t seed : {1, 2}) {
      const TestWeight w(type, O, k, seed);
      Tensor stored = make_tensor(type, {O, k});
      std::memcpy(stored.bytes(), w.blocks.data(), stored.size_bytes());
      packed.emplace_back("w", stored);
    }
    const Tensor rows = k == K ? x : from_values(test_activations(T * k, 2), {T, k});
    const auto multiply = [&](Backend& backend) {
      LinearOperand operand{.form = int8_block(type) == 32 ? LinearForm::kInt8Block32 : LinearForm::kInt8Block256,
                            .x = {},
                            .q = make_tensor(DType::kI8, {T, k}),
                            .d = make_tensor(DType::kF32, {T, k / int8_block(type)}),
                            .sums = make_tensor(DType::kI16, {T, k / 16}),
                            .half = {}};
      backend.prepare(operand, rows);
      const Tensor y = zeros(DType::kF32, {2 * T, O});
      std::vector<LinearTask> tasks;
      for (const auto& [row, n] : {std::pair<size_t, size_t>{0, 29}, {29, 3}, {32, 29}, {61, 29}})
        for (size_t w = 0; w < 2; ++w) tasks.push_back({y, w * T + row, 0, O, &packed[w], &operand, row, n});
      backend.linear(tasks);
      return std::vector<float>(y.data<float>(), y.data<float>() + y.count());
    };
    const std::vector<float> want = multiply(*make_cpu_backend(1, ref_kernels()));
    for (const Kernels* table : testing::other_tables())
      for (const size_t threads : {1, 3})
        EXPECT_TRUE(same_bits(multiply(*make_cpu_backend(threads, *table)), want)) << table->name << " " << type;
  }
}

}  // namespace
}  // namespace fathom

// Speed of the kernels of every table that this CPU can run, on one thread: GB/s of weights at T = 1 from memory beside
// the speed of plain reading, and GMAC/s at T = 2 to 16 from memory and at T = 480 beside the unit's rate in registers,
// in the same run. Best and median of repeated calls: on a machine that is shared the median shows the neighbours.
// Usage: kernels_bench [table ...]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/kernels_testing.h"
#include "kernels/probe_loops.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

/// Seconds of one call: the best and the median of runs that fill about half a second.
struct Timing {
  double best, median;
};
template <class F>
Timing time_calls(const F& f) {
  std::vector<double> seconds;
  const auto start = Clock::now();
  while (seconds.size() < 3 || (Clock::now() - start < std::chrono::milliseconds(300) && seconds.size() < 1000)) {
    const auto before = Clock::now();
    f();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - before).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds[0], seconds[seconds.size() / 2]};
}

/// limit: of the same unit; 0: none is printed.
void print(const char* table, const std::string& what, double amount, const char* unit, Timing t, double limit = 0) {
  std::printf("%-7s %-34s %8.1f best %8.1f median %s", table, what.c_str(), amount / t.best * 1e-9,
              amount / t.median * 1e-9, unit);
  if (limit > 0) std::printf(", best is %.0f%% of the unit's %.1f", amount / t.best * 1e-7 / limit, limit);
  std::printf("\n");
  std::fflush(stdout);
}

/// The unit's rate in registers, in 1e9 multiply-adds per second; 0: this table has no such unit.
double unit_rate(const ProbeLoop& loop) {
  constexpr size_t kRounds = 100000;
  if (!loop.run) return 0;
  return loop.operations * kRounds / 2 / time_calls([&] { loop.run(kRounds); }).best * 1e-9;
}

/// Reading 256 MiB once, by the C library's vectorised search for a byte that is not there: the limit of the T = 1
/// figures.
void bench_reading() {
  const std::vector<uint8_t> data(size_t{256} << 20, 1);
  volatile bool found = false;
  const Timing t = time_calls([&] { found = std::memchr(data.data(), 2, data.size()) != nullptr; });
  print("-", "reading memory, memchr", static_cast<double>(data.size()), "GB/s", t);
}

enum class Profile { kExact, kInt8, kBf16 };

void bench_linear(const Kernels& k, Profile profile, DType type, size_t K, size_t O, size_t T) {
  const testing::TestWeight w(type, O, K, 1);
  const std::vector<float> x = testing::random_floats(T * K, 2);
  std::vector<float> y(T * O);
  std::vector<uint16_t> rounded(T * K);
  k.round_bf16(rounded.data(), x.data(), x.size());
  const testing::TestRows xq(k, x, T, K, int8_block(type) ? int8_block(type) : 32);
  const std::vector<std::byte> tiles = testing::tiles_of(k, xq.view, T, K);
  QuantizedRows rows = xq.view;
  if (T >= k.tiles.least) rows.tiles = tiles.data();
  const Timing t = time_calls([&] {
    if (profile == Profile::kExact) k.linear_exact(y.data(), O, w.view, 0, w.view.panels(), x.data(), K, T);
    if (profile == Profile::kInt8) k.linear_int8(y.data(), O, w.view, 0, w.view.panels(), rows, T);
    if (profile == Profile::kBf16) k.linear_bf16(y.data(), O, w.view, 0, w.view.panels(), rounded.data(), T);
  });
  const char* names[] = {"linear_exact", "linear_int8", "linear_bf16"};
  const std::string what =
      std::string(names[static_cast<int>(profile)]) + " " + info(type).name + " T=" + std::to_string(T);
  const double bytes = static_cast<double>(w.view.panels() * w.view.panel_bytes());
  if (T == 1) return print(k.name, what, bytes, "GB/s", t);
  const ProbeLoops& loops = probe_loops(k);
  const double rate = unit_rate(profile == Profile::kExact  ? loops.f32
                                : profile == Profile::kInt8 ? loops.int8
                                                            : loops.bf16);
  print(k.name, what, static_cast<double>(T) * static_cast<double>(K) * static_cast<double>(O), "GMAC/s", t, rate);
}

void bench_attention(const Kernels& k, CacheType type, size_t group, size_t n) {
  const size_t d = 128, kv_heads = 2, part = 64 * kv_heads * cache_bytes(type, d);
  std::vector<uint8_t> bytes((n + 63) / 64 * 2 * part);
  std::vector<std::byte*> pages;
  for (size_t p = 0; p < (n + 63) / 64; ++p) pages.push_back(reinterpret_cast<std::byte*>(bytes.data() + p * 2 * part));
  const KvPages kv = {pages.data(), 0, part, type};
  const std::vector<float> row = testing::random_floats(kv_heads * d, 1), q = testing::random_floats(group * d, 2);
  for (size_t i = 0; i < n; ++i) k.store_kv(kv, i, row.data(), row.data(), kv_heads, d);
  std::vector<float> out(group * d), scratch(attention_scratch(group, d));
  const Timing t = time_calls([&] {
    for (size_t h = 0; h < kv_heads; ++h) k.attention(out.data(), q.data(), group, d, kv, h, n, 0.1f, scratch.data());
  });
  const std::string what = std::string("attention ") + (type == CacheType::kF32 ? "f32" : "bf16") +
                           " group=" + std::to_string(group) + " n=" + std::to_string(n);
  print(k.name, what, static_cast<double>(2 * kv_heads * group * d * n), "GMAC/s", t);
}

void bench_attention_mla(const Kernels& k, CacheType type, size_t n) {
  const size_t heads = 16, latent = 512, rope = 64, width = latent + rope;
  std::vector<uint8_t> bytes((n + 63) / 64 * 64 * cache_bytes(type, width));
  std::vector<std::byte*> pages;
  for (size_t p = 0; p < (n + 63) / 64; ++p)
    pages.push_back(reinterpret_cast<std::byte*>(bytes.data() + p * 64 * cache_bytes(type, width)));
  const KvPages kv = {pages.data(), 0, 0, type};
  const std::vector<float> row = testing::random_floats(width, 1), q = testing::random_floats(heads * width, 2);
  for (size_t i = 0; i < n; ++i) k.store_latent(kv, i, row.data(), width);
  std::vector<float> out(heads * latent), scratch(attention_mla_scratch(heads, latent, rope));
  const Timing t =
      time_calls([&] { k.attention_mla(out.data(), q.data(), heads, latent, rope, kv, n, 0.1f, scratch.data()); });
  const std::string what =
      std::string("attention_mla ") + (type == CacheType::kF32 ? "f32" : "bf16") + " n=" + std::to_string(n);
  print(k.name, what, static_cast<double>((width + latent) * heads * n), "GMAC/s", t);
}

void bench_rows(const Kernels& k) {
  const size_t n = 8960;
  const std::vector<float> a = testing::random_floats(n, 1), b = testing::random_floats(n, 2);
  std::vector<float> y(n);
  print(k.name, "silu_mul n=8960", n, "G elements/s", time_calls([&] { k.silu_mul(y.data(), a.data(), b.data(), n); }));
  print(k.name, "rms_norm D=8960", n, "G elements/s",
        time_calls([&] { k.rms_norm(y.data(), a.data(), b.data(), 1, n, 1e-6f); }));
  print(k.name, "log_sum_exp n=8960", n, "G elements/s", time_calls([&] { y[0] = k.log_sum_exp(a.data(), n); }));
  print(k.name, "quantize_rows K=8960", n, "G elements/s", time_calls([&] { testing::TestRows(k, a, 1, n, 256); }));
}

void bench_table(const Kernels& k) {
  const bool plain = std::strcmp(k.name, "ref") == 0;  // slow: smaller shapes suffice
  const size_t K = 1536, many = plain ? 64 : 256, memory_rows = plain ? 256 : 65536;
  for (const DType type : {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ8_0, DType::kIQ4_NL, DType::kQ2_K,
                           DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K, DType::kIQ4_XS}) {
    bench_linear(k, Profile::kInt8, type, K, memory_rows, 1);
    for (const size_t few : {2, 4, 8, 16})
      if (!plain) bench_linear(k, Profile::kInt8, type, K, memory_rows, few);
    bench_linear(k, Profile::kInt8, type, K, many, plain ? 8 : 480);
  }
  for (const DType type : {DType::kF32, DType::kBF16, DType::kF8E4M3, DType::kQ4_1, DType::kQ8_0, DType::kQ4_K}) {
    bench_linear(k, Profile::kExact, type, K, type == DType::kF32 ? memory_rows / 2 : memory_rows, 1);
    bench_linear(k, Profile::kExact, type, K, many, plain ? 8 : 480);
  }
  if (k.has_bf16) {
    bench_linear(k, Profile::kBf16, DType::kBF16, K, memory_rows, 1);
    bench_linear(k, Profile::kBf16, DType::kBF16, K, many, plain ? 8 : 480);
  }
  for (const CacheType type : {CacheType::kF32, CacheType::kBF16}) {
    for (const size_t group : {1, 6}) bench_attention(k, type, group, plain ? 128 : 4096);
    bench_attention_mla(k, type, plain ? 64 : 2048);
  }
  bench_rows(k);
}

}  // namespace
}  // namespace fathom

int main(int argc, char** argv) {
  std::printf("%s, one thread; best table: %s\n", fathom::processor().c_str(), fathom::best_kernels().name);
  fathom::bench_reading();
  for (const fathom::Kernels* table : fathom::usable_kernels())
    if (argc < 2 ||
        std::any_of(argv + 1, argv + argc, [&](const char* name) { return std::strcmp(name, table->name) == 0; }))
      fathom::bench_table(*table);
}

#include "engine/probes.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "engine/memory.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kHugePage = size_t{2} << 20, kPiece = size_t{16} << 20;
constexpr int kReads = 3, kPeaks = 8;  // a short try may run between two of somebody else's

/// f(thread) on `threads` threads at once, which wait for each other before they begin. Seconds of each.
std::vector<double> run_together(size_t threads, const std::function<void(size_t)>& f) {
  std::vector<double> seconds(threads);
  std::atomic<size_t> waiting{0};
  const auto work = [&](size_t i) {
    waiting.fetch_add(1);
    while (waiting.load() < threads) std::this_thread::yield();
    const Clock::time_point start = Clock::now();
    f(i);
    seconds[i] = seconds_since(start);
  };
  std::vector<std::jthread> others;
  for (size_t i = 1; i < threads; ++i) others.emplace_back(work, i);
  work(0);
  others.clear();  // joins
  return seconds;
}

size_t huge_bytes_of_process() {
  std::ifstream in("/proc/self/smaps_rollup");
  for (std::string word; in >> word;)
    if (size_t kib = 0; word == "AnonHugePages:" && in >> kib) return kib * 1024;
  return 0;
}

struct Unit {
  const ProbeLoop* loop;
  const char* name;
};

Unit unit_of(const ProbeLoops& loops, Profile profile) {
  switch (profile) {
    case Profile::kInt8: return {&loops.int8, "int8"};
    case Profile::kBF16: return {&loops.bf16, "bf16"};
    default: return {&loops.f32, "f32"};
  }
}

}  // namespace

Probes::Probes(const Kernels& kernels, Profile profile, size_t threads, size_t buffer_bytes)
    : loops_(probe_loops(kernels)),
      peak_(*unit_of(loops_, profile).loop),
      unit_(unit_of(loops_, profile).name),
      threads_(threads) {
  size_ = std::min<uint64_t>(buffer_bytes, available_memory_bytes() / 4) / kHugePage * kHugePage;
  if (size_ == 0) throw ResourceError("probes: a buffer of at least 2 MiB is needed, and less memory is free");
  const size_t before = huge_bytes_of_process();
  void* mapped = mmap(nullptr, size_ + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw ResourceError(cat("probes: no address space for a buffer of ", size_, " bytes"));
  auto* begin = static_cast<std::byte*>(mapped);
  const size_t skip = (kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage) % kHugePage;
  if (skip) munmap(begin, skip);
  buffer_ = begin + skip;
  if (skip != kHugePage) munmap(buffer_ + size_, kHugePage - skip);
  madvise(buffer_, size_, MADV_HUGEPAGE);
  std::memset(buffer_, 1, size_);  // pages that were never written all map to one
  huge_pages_ = huge_bytes_of_process() - before >= size_ / 10 * 9;
  peak_rounds_ = rounds_for(peak_, 0.003);
  nop_rounds_ = rounds_for(loops_.nops, 0.01);
}

Probes::~Probes() { munmap(buffer_, size_); }

ProbeReading Probes::take() const {
  ProbeReading reading;
  reading.nops_per_ns = loop_rate(loops_.nops, nop_rounds_, /*slowest=*/true);
  for (int i = 0; i < kReads; ++i) reading.read_gb_s = std::max(reading.read_gb_s, read_rate());
  for (int i = 0; i < kPeaks && peak_.run; ++i)
    reading.peak_gop_s = std::max(reading.peak_gop_s, loop_rate(peak_, peak_rounds_, false));
  return reading;
}

/// Pieces are handed out as threads come for them, each long enough to be one linear stream.
double Probes::read_rate() const {
  std::atomic<size_t> next{0};
  const std::vector<double> seconds = run_together(threads_, [&](size_t) {
    for (size_t at; (at = next.fetch_add(kPiece)) < size_;) loops_.read(buffer_ + at, std::min(kPiece, size_ - at));
  });
  return static_cast<double>(size_) / 1e9 / *std::max_element(seconds.begin(), seconds.end());
}

/// 1e9 operations per second: of all threads together, or of the slowest one.
double Probes::loop_rate(const ProbeLoop& loop, size_t rounds, bool slowest) const {
  const std::vector<double> seconds = run_together(threads_, [&](size_t) { loop.run(rounds); });
  const double giga = static_cast<double>(rounds) * loop.operations / 1e9;
  if (slowest) return giga / *std::max_element(seconds.begin(), seconds.end());
  double sum = 0;
  for (const double s : seconds) sum += giga / s;
  return sum;
}

size_t Probes::rounds_for(const ProbeLoop& loop, double seconds) const {
  if (!loop.run) return 0;
  for (size_t rounds = 1000;; rounds *= 4) {
    const Clock::time_point start = Clock::now();
    loop.run(rounds);
    const double took = seconds_since(start);
    if (took > seconds / 8)
      return std::max<size_t>(1, static_cast<size_t>(static_cast<double>(rounds) * seconds / took));
  }
}

}  // namespace fathom

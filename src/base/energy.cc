#include "base/energy.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <fstream>
#include <optional>
#include <utility>

#include "base/error.h"

namespace fathom {
namespace {

constexpr double kWattsPerBusyCore = 10;

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds() {
  std::timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

std::optional<uint64_t> number_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  uint64_t x = 0;
  return in >> x ? std::optional(x) : std::nullopt;
}

std::string word_in(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string word;
  in >> word;
  return word;
}

/// intel-rapl:0 (AMD's too) is a package, intel-rapl:0:1 a part of it. Parts lie within the package's count but for
/// dram; psys and intel-rapl-mmio count the same energy again.
bool counts(const std::string& folder, const std::string& name) {
  return folder.starts_with("intel-rapl:") && (name.starts_with("package") || name == "dram");
}

}  // namespace

EnergyMeter::EnergyMeter(double stated_watts, const std::filesystem::path& powercap)
    : stated_watts_(stated_watts), started_wall_s_(wall_seconds()), started_cpu_s_(cpu_seconds()) {
  std::error_code absent;
  for (std::filesystem::directory_iterator at(powercap, absent), end; !absent && at != end; at.increment(absent)) {
    const std::filesystem::path& zone = at->path();
    const std::string name = word_in(zone / "name");
    if (!counts(zone.filename().string(), name)) continue;
    const std::optional<uint64_t> now = number_in(zone / "energy_uj"), range = number_in(zone / "max_energy_range_uj");
    if (now && range) counters_.push_back({zone / "energy_uj", name, *range, *now});
  }
  std::sort(counters_.begin(), counters_.end(), [](const Counter& a, const Counter& b) { return a.file < b.file; });
}

EnergyReading EnergyMeter::read() { return read_at(wall_seconds() - started_wall_s_, cpu_seconds() - started_cpu_s_); }

EnergyReading EnergyMeter::read_at(double wall_s, double cpu_s) {
  if (stated_watts_ > 0) return {stated_watts_ * wall_s, cat("stated: ", stated_watts_, " W")};
  if (counters_.empty()) return {kWattsPerBusyCore * cpu_s, cat("model: ", kWattsPerBusyCore, " W per busy core")};
  std::string names;
  for (Counter& counter : counters_) {
    const std::optional<uint64_t> now = counter.lost ? std::nullopt : number_in(counter.file);
    counter.lost = !now;
    if (now) {
      const uint64_t before = std::exchange(counter.last_uj, *now);
      counted_uj_ += static_cast<double>(*now >= before ? *now - before : counter.range_uj - before + *now);
    }
    names += cat(names.empty() ? "" : ", ", counter.name, counter.lost ? " lost" : "");
  }
  return {counted_uj_ * 1e-6, cat("counter (", names, ")")};
}

double energy_cost(double joules, double price_per_kwh) { return joules / 3.6e6 * price_per_kwh; }

}  // namespace fathom

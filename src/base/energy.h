// What a run has drawn from the wall: by the processor's energy counter where it can be read, else by a model that says
// so. Called by the trainer each step, and by the server for its answers. One thread.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace fathom {

struct EnergyReading {
  double joules;
  /// "counter (package-0, dram)", "stated: 35 W", "model: 10 W per busy core". What is no counter is no measurement.
  std::string source;
};

/// Energy since its making, the first of these that applies:
///   stated watts > 0: watts * seconds;
///   RAPL counters: the sum over processor packages and memory, of the whole machine, other processes too;
///   model: 10 W per busy core, that is 10 J per second of this process's CPU time.
/// A counter wraps around (after 20 minutes and more at 200 W): read at least that often. One that cannot be read any
/// more adds nothing from then on, and the source says so.
class EnergyMeter {
 public:
  explicit EnergyMeter(double stated_watts, const std::filesystem::path& powercap = "/sys/class/powercap");
  EnergyReading read();
  /// The same, `wall_s` and `cpu_s` (of all threads) after its making.
  EnergyReading read_at(double wall_s, double cpu_s);

 private:
  struct Counter {
    std::filesystem::path file;  // energy_uj
    std::string name;
    uint64_t range_uj, last_uj;
    bool lost = false;
  };
  double stated_watts_, started_wall_s_, started_cpu_s_;
  std::vector<Counter> counters_;
  double counted_uj_ = 0;
};

/// joules / 3.6e6 * price.
double energy_cost(double joules, double price_per_kwh);

}  // namespace fathom

#include "base/energy.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/testing.h"

namespace fathom {
namespace {

class Energy : public ::testing::Test {
 protected:
  void zone(const std::string& folder, const std::string& name, uint64_t uj, uint64_t range = 1000000) const {
    std::filesystem::create_directories(dir_.path() / folder);
    std::ofstream(dir_.path() / folder / "name") << name << "\n";
    std::ofstream(dir_.path() / folder / "max_energy_range_uj") << range << "\n";
    std::ofstream(dir_.path() / folder / "energy_uj") << uj << "\n";
  }
  testing::TempDir dir_;
};

TEST_F(Energy, CountersAreSummedAndWrapAround) {
  zone("intel-rapl:0", "package-0", 900000);
  zone("intel-rapl:0:0", "core", 5);
  zone("intel-rapl:0:1", "dram", 100);
  zone("intel-rapl:1", "psys", 7);
  zone("intel-rapl:2", "package-1", 0);
  zone("intel-rapl-mmio:0", "package-0", 9);
  EnergyMeter meter(0, dir_.path());
  EXPECT_EQ(meter.read_at(1, 1).joules, 0);
  EXPECT_EQ(meter.read_at(1, 1).source, "counter (package-0, dram, package-1)");
  zone("intel-rapl:0", "package-0", 950000);
  zone("intel-rapl:0:0", "core", 900000);
  zone("intel-rapl:0:1", "dram", 10100);
  zone("intel-rapl:1", "psys", 900000);
  zone("intel-rapl-mmio:0", "package-0", 900000);
  EXPECT_DOUBLE_EQ(meter.read_at(2, 2).joules, 0.06);
  zone("intel-rapl:0", "package-0", 20000);  // 50,000 to the end, 20,000 more
  zone("intel-rapl:2", "package-1", 500000);
  EXPECT_DOUBLE_EQ(meter.read_at(3, 3).joules, 0.63);
  std::filesystem::remove(dir_.path() / "intel-rapl:2" / "energy_uj");
  zone("intel-rapl:0", "package-0", 30000);
  EXPECT_DOUBLE_EQ(meter.read_at(4, 4).joules, 0.64);
  EXPECT_EQ(meter.read_at(4, 4).source, "counter (package-0, dram, package-1 lost)");
}

TEST_F(Energy, WithoutCountersItIsAModelAndSaysSo) {
  std::filesystem::create_directories(dir_.path() / "intel-rapl:0");  // a name, and no counter that can be read
  std::ofstream(dir_.path() / "intel-rapl:0" / "name") << "package-0\n";
  EnergyMeter model(0, dir_.path());
  EXPECT_DOUBLE_EQ(model.read_at(100, 150).joules, 1500);
  EXPECT_EQ(model.read_at(100, 150).source, "model: 10 W per busy core");
  EnergyMeter absent(0, dir_.path() / "absent");
  EXPECT_EQ(absent.read_at(1, 0).joules, 0);
  EXPECT_GE(absent.read().joules, 0);
}

TEST_F(Energy, StatedWattsAreTaken) {
  zone("intel-rapl:0", "package-0", 1);
  EnergyMeter meter(37.5, dir_.path());
  EXPECT_DOUBLE_EQ(meter.read_at(10, 3).joules, 375);
  EXPECT_EQ(meter.read_at(10, 3).source, "stated: 37.5 W");
  EXPECT_DOUBLE_EQ(energy_cost(3.6e6 * 2, 0.3), 0.6);
}

}  // namespace
}  // namespace fathom

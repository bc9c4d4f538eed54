#include "tests/testing.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "base/error.h"

namespace fathom::testing {
namespace fs = std::filesystem;

fs::path source_dir() { return FATHOM_SOURCE_DIR; }

fs::path golden_dir() {
  if (const char* dir = std::getenv("FATHOM_GOLDEN"); dir && *dir) return dir;
  return source_dir() / "tests" / "golden";
}

std::optional<fs::path> shared_dir() {
  fs::path dir = source_dir().parent_path() / "shared";
  if (const char* env = std::getenv("FATHOM_SHARED"); env && *env) dir = env;
  if (!fs::is_directory(dir)) return std::nullopt;
  return dir;
}

std::optional<fs::path> shared_path(const std::string& relative) {
  const std::optional<fs::path> dir = shared_dir();
  if (!dir || !fs::exists(*dir / relative)) return std::nullopt;
  return *dir / relative;
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  check(in.good(), "a test asked for a file that cannot be read");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "fathom-test-XXXXXX").string();
  check(mkdtemp(pattern.data()) != nullptr, "cannot make a temporary folder");
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<float> random_floats(size_t n, uint64_t seed) {
  // Box-Muller by hand: std::normal_distribution differs between standard libraries.
  std::mt19937_64 engine(seed);
  std::vector<float> out(n);
  for (float& x : out) {
    const double u = (static_cast<double>(engine() >> 11) + 0.5) * 0x1p-53;
    const double v = static_cast<double>(engine() >> 11) * 0x1p-53;
    x = static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * M_PI * v));
  }
  return out;
}

std::vector<uint8_t> random_bytes(size_t n, uint64_t seed) {
  std::mt19937_64 engine(seed);
  std::vector<uint8_t> out(n);
  for (uint8_t& x : out) x = static_cast<uint8_t>(engine());
  return out;
}

}  // namespace fathom::testing

// What tests share: where golden files and test data are. Tests list these folders, so that another set of files of
// the same form is checked by the same tests. A test whose data is absent skips, and the run counts it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fathom::testing {

/// The root of the source tree that the tests were built from.
std::filesystem::path source_dir();

/// $FATHOM_GOLDEN, else tests/golden of this source tree.
std::filesystem::path golden_dir();

/// $FATHOM_SHARED, else ../shared beside this source tree; nullopt where that folder does not exist.
std::optional<std::filesystem::path> shared_dir();

/// shared_dir() / relative where it exists, else nullopt: `if (!path) GTEST_SKIP() << "needs ..."`.
std::optional<std::filesystem::path> shared_path(const std::string& relative);

/// The whole file as bytes. Fails the process if it cannot be read: tests ask for files that they have listed.
std::string read_file(const std::filesystem::path& path);

/// A new empty folder, removed when the object dies.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// n floats, normal with deviation 1, the same on every machine for a seed.
std::vector<float> random_floats(size_t n, uint64_t seed);
/// n bytes, uniform, the same on every machine for a seed.
std::vector<uint8_t> random_bytes(size_t n, uint64_t seed);

}  // namespace fathom::testing

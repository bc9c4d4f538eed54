#include "hub/token.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr size_t kLongest = 4096;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<fs::path> token_files(const fs::path& config_folder) {
  std::vector<fs::path> files = {config_folder / "hub-token"};
  if (const std::string path = variable("HF_TOKEN_PATH"); !path.empty()) files.emplace_back(path);
  if (const std::string home = variable("HF_HOME"); !home.empty()) files.push_back(fs::path(home) / "token");
  if (const std::string cache = variable("XDG_CACHE_HOME"); cache.starts_with('/'))
    files.push_back(fs::path(cache) / "huggingface" / "token");
  if (const std::string home = variable("HOME"); !home.empty())
    files.push_back(fs::path(home) / ".cache" / "huggingface" / "token");
  return files;
}

/// The value without the spaces and newlines around it. What an environment or a file holds goes into a header: a
/// newline inside would begin another one.
Token checked(std::string value, const std::string& source) {
  const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!value.empty() && is_space(value.back())) value.pop_back();
  value.erase(value.begin(), std::find_if_not(value.begin(), value.end(), is_space));
  const auto is_printable = [](char c) { return c > 0x20 && c < 0x7f; };
  if (value.size() > kLongest || !std::all_of(value.begin(), value.end(), is_printable))
    throw Error(cat(source, ": expected a token (one word of printable ASCII), found something else"));
  return {value, source};
}

}  // namespace

Token find_token(const fs::path& config_folder) {
  for (const char* name : {"FATHOM_HUB_TOKEN", "HF_TOKEN"})
    if (Token token = checked(variable(name), name); !token.value.empty()) return token;
  for (const fs::path& file : token_files(config_folder)) {
    std::error_code error;
    if (!fs::is_regular_file(file, error)) continue;
    if (Token token = checked(read_text_file(file, kLongest + 64), file.string()); !token.value.empty()) return token;
  }
  return {};
}

}  // namespace fathom

#include "hub/names.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "base/error.h"

namespace fathom {
namespace {

constexpr size_t kLongestName = 96, kLongestPart = 200, kMostParts = 16, kLongestRevision = 200;

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName && text[0] != '.' && text[0] != '-' &&
         std::all_of(text.begin(), text.end(), is_word);
}

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

}  // namespace

HubName parse_hub_name(std::string_view text) {
  const size_t colon = text.find(':');
  const std::string_view repository = text.substr(0, colon);
  const size_t slash = repository.find('/');
  const std::string_view owner = repository.substr(0, slash);
  const std::string_view name = slash == std::string_view::npos ? "" : repository.substr(slash + 1);
  if (!is_name(owner) || !is_name(name) || text.ends_with(':'))
    throw UsageError(
        cat("model: expected OWNER/NAME or OWNER/NAME:FILE (letters, digits, '.', '_', '-'), found '", text, "'"));
  HubName out{std::string(owner), std::string(name), {}};
  if (colon == std::string_view::npos) return out;
  out.file = text.substr(colon + 1);
  if (const std::string problem = path_problem(out.file); !problem.empty())
    throw UsageError(
        cat("file '", out.file, "': expected a path in the repository or a quantisation's name, found ", problem));
  return out;
}

std::string path_problem(std::string_view path) {
  if (path.empty()) return "an empty path";
  if (path[0] == '/') return "an absolute path";
  if (std::any_of(path.begin(), path.end(), is_control)) return "a control character";
  if (path.find('\\') != std::string_view::npos) return "a backslash";
  size_t parts = 0;
  for (std::string_view rest = path;;) {
    const size_t end = rest.find('/');
    const std::string_view part = rest.substr(0, end);
    if (part.empty()) return "an empty part";
    if (part == "." || part == "..") return cat("the part '", part, "'");
    if (part.size() > kLongestPart) return cat("a part of ", part.size(), " bytes");
    if (++parts > kMostParts) return cat("more than ", kMostParts, " parts");
    if (end == std::string_view::npos) return "";
    rest.remove_prefix(end + 1);
  }
}

void check_revision(std::string_view revision) {
  const bool fine = !revision.empty() && revision.size() <= kLongestRevision && revision[0] != '-' &&
                    std::none_of(revision.begin(), revision.end(), [](char c) { return is_control(c) || c == ' '; });
  if (!fine || !path_problem(revision).empty())
    throw UsageError(cat("--revision: expected a branch, tag or commit, found '", revision, "'"));
}

std::string url_quoted(std::string_view text, bool keep_slash) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_word(c) || c == '~' || (c == '/' && keep_slash))
      out += c;
    else
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return out;
}

std::string size_text(uint64_t bytes) {
  if (bytes < 1000) return cat(bytes, bytes == 1 ? " byte" : " bytes");
  constexpr std::array<const char*, 6> kUnits = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes) / 1000;
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) value /= 1000, ++unit;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.*f %s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, kUnits[unit]);
  return text.data();
}

bool is_hex_id(std::string_view text) {
  return text.size() >= 40 && text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace fathom

#include "hub/headers.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>

#include "base/trimmed.h"

namespace fathom {
namespace {

constexpr std::string_view kBlank = " \t";

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  return out;
}

/// True if one of the parameters `; a=b; rel="next"` is rel with the word "next" among its values.
bool says_next(std::string_view parameters) {
  while (!parameters.empty()) {
    parameters.remove_prefix(1);  // the ';'
    const size_t end = parameters.find(';');
    const std::string_view one = trimmed(parameters.substr(0, end), kBlank);
    const size_t equals = one.find('=');
    if (equals != std::string_view::npos && lower(trimmed(one.substr(0, equals), kBlank)) == "rel") {
      std::string values = lower(trimmed(one.substr(equals + 1), kBlank));
      std::replace(values.begin(), values.end(), '"', ' ');
      if ((" " + values + " ").find(" next ") != std::string::npos) return true;
    }
    if (end == std::string_view::npos) return false;
    parameters.remove_prefix(end);
  }
  return false;
}

}  // namespace

std::optional<std::string> next_link(std::string_view header) {
  while (true) {
    const size_t open = header.find('<');
    if (open == std::string_view::npos) return std::nullopt;
    const size_t close = header.find('>', open);
    if (close == std::string_view::npos) return std::nullopt;
    const std::string_view target = header.substr(open + 1, close - open - 1);
    header.remove_prefix(close + 1);
    const size_t end = header.find(',');
    const std::string_view parameters = trimmed(header.substr(0, end), kBlank);
    if (parameters.starts_with(';') && says_next(parameters)) return std::string(target);
    if (end == std::string_view::npos) return std::nullopt;
    header.remove_prefix(end);
  }
}

std::optional<uint64_t> retry_after_s(std::string_view header, int64_t now_s) {
  header = trimmed(header, kBlank);
  if (const std::optional<uint64_t> seconds = decimal(header)) return seconds;
  const std::string date(header);
  const time_t when = curl_getdate(date.c_str(), nullptr);
  if (when == -1) return std::nullopt;
  return when > now_s ? static_cast<uint64_t>(when - now_s) : 0;
}

std::optional<ContentRange> content_range(std::string_view header) {
  header = trimmed(header, kBlank);
  if (lower(header.substr(0, 6)) != "bytes ") return std::nullopt;
  header = trimmed(header.substr(6), kBlank);
  const size_t dash = header.find('-'), slash = header.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || slash < dash) return std::nullopt;
  const auto first = decimal(header.substr(0, dash)), last = decimal(header.substr(dash + 1, slash - dash - 1));
  const std::string_view total = header.substr(slash + 1);
  if (!first || !last || *last < *first) return std::nullopt;
  if (total == "*") return ContentRange{*first, *last, std::nullopt};
  const auto size = decimal(total);
  if (!size || *last >= *size) return std::nullopt;
  return ContentRange{*first, *last, size};
}

std::optional<std::string> strong_etag(std::string_view header) {
  header = trimmed(header, kBlank);
  const bool quoted = header.size() >= 2 && header.size() <= 256 && header.front() == '"' && header.back() == '"';
  if (!quoted) return std::nullopt;
  for (const char c : header.substr(1, header.size() - 2))
    if (c == '"' || static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return std::nullopt;
  return std::string(header);
}

std::optional<uint64_t> decimal(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace fathom

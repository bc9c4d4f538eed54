#include "server/http/target.h"

#include <algorithm>

#include "server/http/http.h"
#include "text/utf8.h"

namespace fathom::http {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  return lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
}

std::string decoded_path(std::string_view raw) {
  std::optional<std::string> path = percent_decode(raw);
  if (!path) throw Refused(400, "the path: expected two hexadecimal digits behind each %");
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
  if (std::any_of(path->begin(), path->end(), control)) throw Refused(400, "the path: has a control character");
  if (valid_utf8_prefix(*path) != path->size()) throw Refused(400, "the path: is not UTF-8");
  return *std::move(path);
}

}  // namespace

Target parse_target(std::string_view method, std::string_view target) {
  const auto outside = [](char c) {
    return c < 0x21 || c > 0x7E || c == '#';
  };  // char is signed or not: both are right
  if (std::any_of(target.begin(), target.end(), outside))
    throw Refused(400, "the request's target: expected visible ASCII characters and no #");
  Target out;
  out.path = "*";
  if (target == "*" && method == "OPTIONS") return out;
  for (const std::string_view scheme : {"http://", "https://"})
    if (same_letters(target.substr(0, scheme.size()), scheme)) {
      target.remove_prefix(scheme.size());
      out.authority = target.substr(0, target.find_first_of("/?"));
      if (!valid_host(out.authority)) throw Refused(400, "the request's target: expected a host name");
      target.remove_prefix(out.authority.size());
      break;
    }
  const size_t mark = target.find('?');
  const std::string_view path = target.substr(0, mark);
  if (out.authority.empty() ? !path.starts_with('/') : !path.empty() && path[0] != '/')
    throw Refused(400, "the request's target: expected a path that begins with /");
  out.path = path.empty() ? "/" : decoded_path(path);
  if (mark != std::string_view::npos) out.query = target.substr(mark + 1);
  return out;
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool valid_host(std::string_view text) {
  size_t end;  // of the name
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos || end < 3) return false;
    for (const char c : text.substr(1, end - 1))
      if (hex_digit(c) < 0 && c != ':' && c != '.') return false;
    ++end;
  } else {
    end = std::min(text.find(':'), text.size());
    if (end == 0) return false;
    for (const char c : text.substr(0, end))
      if (!is_letter(c) && !is_digit(c) && c != '.' && c != '-' && c != '_') return false;
  }
  if (text.size() > 300) return false;
  if (end == text.size()) return true;
  const std::string_view port = text.substr(end + 1);
  return text[end] == ':' && port.size() <= 5 && std::all_of(port.begin(), port.end(), is_digit);
}

std::string host_name(std::string_view host) {
  const size_t end = host.starts_with('[') ? host.find(']') : host.find(':');
  std::string name(host.substr(0, end));
  if (host.starts_with('[')) name += ']';
  std::transform(name.begin(), name.end(), name.begin(), lower);
  return name;
}

bool same_letters(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

bool has_word(std::string_view list, std::string_view word) {
  for (;;) {
    const size_t comma = list.find(',');
    if (same_letters(trimmed(list.substr(0, comma), kBlank), word)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace fathom::http

namespace fathom {

std::optional<std::string> query_value(std::string_view query, std::string_view key) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = std::min(pair.find('='), pair.size());
    if (http::percent_decode(pair.substr(0, equals), true) != key) continue;
    return http::percent_decode(pair.substr(std::min(pair.size(), equals + 1)), true);
  }
  return std::nullopt;
}

}  // namespace fathom

// Operations on strings that methods and filters share. All keep the trust of what they copy.
#include <utf8proc.h>

#include <algorithm>

#include "base/error.h"
#include "text/jinja/builtins.h"

namespace fathom::jinja {
namespace {

char32_t to_upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
char32_t to_lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
char32_t to_title(char32_t c) { return static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))); }
bool is_cased(char32_t c) { return to_upper(c) != c || to_lower(c) != c || c == 0xDF; }

// The letters whose upper case is longer, as far as Latin text has them.
std::string_view long_upper(char32_t c, bool title) {
  switch (c) {
    case 0xDF: return title ? "Ss" : "SS";
    case 0xFB00: return title ? "Ff" : "FF";
    case 0xFB01: return title ? "Fi" : "FI";
    case 0xFB02: return title ? "Fl" : "FL";
    default: return "";
  }
}

void append_cased(std::string& out, char32_t c, Case how, bool first) {
  const bool swap_up = how == Case::kSwap && to_lower(c) == c;
  const bool up = how == Case::kUpper || swap_up;
  const bool title = (how == Case::kTitle || how == Case::kCapitalize) && first;
  const std::string_view longer = up || title ? long_upper(c, title) : "";
  if (!longer.empty())
    out += longer;
  else
    append_utf8(out, up ? to_upper(c) : title ? to_title(c) : to_lower(c));
}

}  // namespace

Text change_case(const Text& text, Case how, Budget& budget) {
  budget.bytes(text.size());
  budget.step(text.size() / 8);
  Text out;
  bool first = true;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = code_point_at(text.bytes(), i);
    std::string piece;
    append_cased(piece, c.value, how, first);
    out.append(piece, text.trusted_at(i));
    first = how == Case::kTitle && !is_cased(c.value);
    i += c.size;
  }
  return out;
}

Text strip(const Text& text, const Text* chars, bool left, bool right) {
  const std::string& bytes = text.bytes();
  const auto strippable = [&](size_t at, size_t size) {
    if (!chars) return is_space(code_point_at(bytes, at).value);
    return chars->bytes().find(bytes.substr(at, size)) != std::string::npos;
  };
  size_t begin = 0, end = bytes.size();
  while (left && begin < end) {
    const size_t size = code_point_at(bytes, begin).size;
    if (!strippable(begin, size)) break;
    begin += size;
  }
  while (right && end > begin) {
    const size_t at = code_point_before(bytes, end);
    if (!strippable(at, end - at)) break;
    end = at;
  }
  return text.slice(begin, end);
}

Text replace(const Text& text, const Text& from, const Text& to, Int count, Budget& budget) {
  const std::string& bytes = text.bytes();
  Text out;
  size_t at = 0;
  budget.step(text.size() / 16);
  const auto put = [&] {
    budget.bytes(to.size());
    budget.step();
    out.append(to);
  };
  if (from.empty()) {  // between all code points
    while (count != 0 && at <= bytes.size()) {
      put();
      if (count > 0) --count;
      if (at == bytes.size()) return out;
      const size_t size = code_point_at(bytes, at).size;
      out.append(text, at, at + size);
      at += size;
    }
  }
  while (count != 0 && !from.empty()) {
    const size_t hit = bytes.find(from.bytes(), at);
    if (hit == std::string::npos) break;
    out.append(text, at, hit);
    put();
    at = hit + from.size();
    if (count > 0) --count;
  }
  out.append(text, at, bytes.size());
  budget.bytes(text.size());
  return out;
}

Text join(const Text& separator, const std::vector<Value>& items, Budget& budget, bool strings_only) {
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (strings_only && !items[i].if_text()) throw Error(cat("join: expected strings, found ", items[i].type_name()));
    if (i) {
      budget.bytes(separator.size());
      out.append(separator);
    }
    out.append(to_text(items[i], budget));
  }
  return out;
}

}  // namespace fathom::jinja

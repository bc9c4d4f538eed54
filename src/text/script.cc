#include "text/script.h"

#include <utf8proc.h>

#include <algorithm>
#include <string>
#include <vector>

#include "text/utf8.h"

namespace fathom {
namespace {

struct Range {
  char32_t first, last;
  Script script;
};
/// Of letters and their marks, ascending; what lies between is kOther.
constexpr Range kRanges[] = {
    {0x41, 0x5A, Script::kLatin},
    {0x61, 0x7A, Script::kLatin},
    {0xAA, 0xAA, Script::kLatin},
    {0xB5, 0xB5, Script::kCommon},
    {0xBA, 0xBA, Script::kLatin},
    {0xC0, 0x2AF, Script::kLatin},
    {0x2B0, 0x36F, Script::kCommon},
    {0x370, 0x3FF, Script::kGreek},
    {0x400, 0x52F, Script::kCyrillic},
    {0x590, 0x5FF, Script::kHebrew},
    {0x600, 0x6FF, Script::kArabic},
    {0x750, 0x77F, Script::kArabic},
    {0x870, 0x8FF, Script::kArabic},
    {0x900, 0x97F, Script::kDevanagari},
    {0xE00, 0xE7F, Script::kThai},
    {0x1100, 0x11FF, Script::kHangul},
    {0x1AB0, 0x1AFF, Script::kCommon},
    {0x1C80, 0x1C8F, Script::kCyrillic},
    {0x1CD0, 0x1CFF, Script::kDevanagari},
    {0x1D00, 0x1DBF, Script::kLatin},
    {0x1DC0, 0x1DFF, Script::kCommon},
    {0x1E00, 0x1EFF, Script::kLatin},
    {0x1F00, 0x1FFF, Script::kGreek},
    {0x2070, 0x214F, Script::kCommon},
    {0x2C60, 0x2C7F, Script::kLatin},
    {0x2DE0, 0x2DFF, Script::kCyrillic},
    {0x2E80, 0x2FDF, Script::kHan},
    {0x3005, 0x3007, Script::kHan},
    {0x302A, 0x302D, Script::kCommon},
    {0x302E, 0x302F, Script::kHangul},
    {0x3031, 0x3035, Script::kKana},
    {0x3038, 0x303C, Script::kHan},
    {0x3041, 0x30FF, Script::kKana},
    {0x3100, 0x312F, Script::kHan},
    {0x3130, 0x318F, Script::kHangul},
    {0x31A0, 0x31BF, Script::kHan},
    {0x31F0, 0x31FF, Script::kKana},
    {0x3400, 0x4DBF, Script::kHan},
    {0x4E00, 0x9FFF, Script::kHan},
    {0xA640, 0xA69F, Script::kCyrillic},
    {0xA720, 0xA7FF, Script::kLatin},
    {0xA8E0, 0xA8FF, Script::kDevanagari},
    {0xA960, 0xA97F, Script::kHangul},
    {0xAB30, 0xAB6F, Script::kLatin},
    {0xAC00, 0xD7FF, Script::kHangul},
    {0xF900, 0xFAFF, Script::kHan},
    {0xFB00, 0xFB06, Script::kLatin},
    {0xFB1D, 0xFB4F, Script::kHebrew},
    {0xFB50, 0xFDFF, Script::kArabic},
    {0xFE00, 0xFE2F, Script::kCommon},
    {0xFE70, 0xFEFF, Script::kArabic},
    {0xFF21, 0xFF5A, Script::kLatin},
    {0xFF66, 0xFF9F, Script::kKana},
    {0xFFA0, 0xFFDC, Script::kHangul},
    {0x10780, 0x107BF, Script::kLatin},
    {0x10EC0, 0x10EFF, Script::kArabic},
    {0x11B00, 0x11B5F, Script::kDevanagari},
    {0x16FE0, 0x16FFF, Script::kHan},
    {0x1AFF0, 0x1B16F, Script::kKana},
    {0x1D400, 0x1D7FF, Script::kCommon},
    {0x1DF00, 0x1DFFF, Script::kLatin},
    {0x1E030, 0x1E08F, Script::kCyrillic},
    {0x1EE00, 0x1EEFF, Script::kArabic},
    {0x20000, 0x323AF, Script::kHan},
    {0xE0100, 0xE01EF, Script::kCommon},
};

constexpr size_t kBlock = 64;  // characters that share all bytes of UTF-8 but the last
constexpr size_t kBlocks = 0x110000 / kBlock;

/// Which scripts the characters of each block have.
const std::vector<uint32_t>& scripts_of_blocks() {
  static const std::vector<uint32_t> blocks = [] {
    std::vector<uint32_t> out(kBlocks);
    for (char32_t c = 0; c < 0x110000; ++c) out[c / kBlock] |= ScriptSet{script_of(c)}.bits();
    return out;
  }();
  return blocks;
}

/// Whether a character of these scripts begins with `prefix`, which begins one.
bool may_begin(ScriptSet scripts, std::string_view prefix) {
  const auto at = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(prefix[i])); };
  size_t first = 0, count = 1;  // blocks
  if (at(0) < 0xE0) {
    first = at(0) & 0x1F;
  } else if (at(0) < 0xF0) {
    first = (at(0) & 0x0F) << 6;
    prefix.size() > 1 ? first |= at(1)& 0x3F : count = 64;
  } else {
    first = (at(0) & 0x07) << 12;
    count = 4096;
    if (prefix.size() > 1) first |= (at(1) & 0x3F) << 6, count = 64;
    if (prefix.size() > 2) first |= at(2) & 0x3F, count = 1;
  }
  const std::vector<uint32_t>& blocks = scripts_of_blocks();
  for (size_t i = first; i < std::min(first + count, kBlocks); ++i)
    if (blocks[i] & scripts.bits()) return true;
  return false;
}

struct Written {
  ScriptSet scripts;
  std::string_view names;  // with a space on both sides of each
};
constexpr ScriptSet kLatin = {Script::kCommon, Script::kLatin, Script::kGreek};
constexpr ScriptSet with_latin(Script script) { return {Script::kCommon, Script::kLatin, script}; }
constexpr Written kWritten[] = {
    {kLatin,
     " latin af az bs ca cs cy da de en es et eu fi fil fr ga gl hr hu id is it la lb lt lv ms mt nb nl nn no pl pt ro "
     "sk sl sq sv sw tl tr uz vi "},
    {with_latin(Script::kCyrillic), " cyrillic be bg kk ky mk mn ru sr tg uk "},
    {with_latin(Script::kHan), " han zh "},
    {{Script::kCommon, Script::kLatin, Script::kHan, Script::kKana}, " japanese ja "},
    {with_latin(Script::kHangul), " korean ko "},
    {with_latin(Script::kArabic), " arabic ar fa ps ur "},
    {with_latin(Script::kHebrew), " hebrew he yi "},
    {with_latin(Script::kGreek), " greek el "},
    {with_latin(Script::kDevanagari), " devanagari hi mr ne sa "},
    {with_latin(Script::kThai), " thai th "},
};

}  // namespace

Script script_of(char32_t code_point) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CS: return Script::kOther;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: break;
    default: return Script::kCommon;
  }
  const auto range = std::ranges::lower_bound(kRanges, code_point, {}, &Range::last);
  return range != std::end(kRanges) && range->first <= code_point ? range->script : Script::kOther;
}

std::optional<ScriptSet> scripts_of_language(std::string_view language) {
  std::string name(" ");
  for (const char c : language.substr(0, language.find_first_of("-_")))
    name += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  if (name.size() < 3 || name.find(' ', 1) != std::string::npos) return std::nullopt;
  name += ' ';
  for (const Written& w : kWritten)
    if (w.names.find(name) != std::string_view::npos) return w.scripts;
  return std::nullopt;
}

bool keeps_to(ScriptSet scripts, std::string_view bytes) {
  while (!bytes.empty()) {
    const Utf8Unit unit = next_utf8_unit(bytes);
    if (unit.status == Utf8Status::kIncomplete) return may_begin(scripts, bytes);
    if (unit.status == Utf8Status::kValid && !scripts.has(script_of(decode_valid_utf8(bytes.data()).code_point)))
      return false;
    bytes.remove_prefix(unit.size);
  }
  return true;
}

std::string_view incomplete_tail(std::string_view text) {
  for (size_t n = 1; n <= std::min<size_t>(3, text.size()); ++n) {
    const std::string_view tail = text.substr(text.size() - n);
    const auto lead = static_cast<uint8_t>(tail[0]);
    if (lead < 0x80) return {};
    if (lead < 0xC0) continue;  // within a character
    const Utf8Unit unit = next_utf8_unit(tail);
    return unit.status == Utf8Status::kIncomplete && unit.size == n ? tail : std::string_view();
  }
  return {};
}

}  // namespace fathom

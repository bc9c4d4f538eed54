#include "text/unicode.h"

#include <utf8proc.h>

#include <map>

namespace fathom {
namespace {

constexpr CodePointRange kLetters[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},
    {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
    {0x376, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},
    {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
    {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},
    {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},
    {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
    {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},
    {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},
    {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
    {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
    {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},
    {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},
    {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
    {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
    {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
constexpr CodePointRange kPunct[] = {
    {0x21, 0x2F}, {0x3A, 0x7E}, {0x2018, 0x201F}, {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E},
};
constexpr CodePointRange kWide[] = {{0x800, 0x9FA5}, {0xAC00, 0xD7FF}};
constexpr CodePointRange kHanKana[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
// PropList.txt, White_Space: utf8proc has categories only, and U+180E and the control characters differ.
constexpr CodePointRange kWhite[] = {
    {0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},     {0x1680, 0x1680},
    {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000},
};

uint16_t bits_of_category(utf8proc_category_t category) {
  switch (category) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return kNumber;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return kMark;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return kPunctuation;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: return kSymbol;
    default: return 0;
  }
}

void mark(std::vector<uint16_t>& bits, std::span<const CodePointRange> ranges, uint16_t bit) {
  for (const CodePointRange& range : ranges)
    for (char32_t c = range.first; c <= range.last; ++c) bits[c] |= bit;
}

/// Sets kNfcMayChange: every character with a combining class, with a canonical decomposition that does not compose
/// back to itself, or that composes with a character before it.
void mark_nfc(std::vector<uint16_t>& bits) {
  for (char32_t c = 0xC0; c < bits.size(); ++c) {
    if (c >= 0xAC00 && c <= 0xD7A3) continue;  // Hangul syllables stay; the letters that join them are marked below
    const auto code = static_cast<utf8proc_int32_t>(c);
    if (utf8proc_get_property(code)->combining_class != 0) bits[c] |= kNfcMayChange;
    utf8proc_int32_t parts[32];
    int boundary = 0;
    const auto n = utf8proc_decompose_char(code, parts, 32, UTF8PROC_DECOMPOSE, &boundary);
    if (n == 1 && parts[0] == code) continue;
    for (utf8proc_ssize_t i = 1; i < n; ++i) bits[static_cast<size_t>(parts[i])] |= kNfcMayChange;
    const auto composed =
        utf8proc_normalize_utf32(parts, n, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    if (composed != 1 || parts[0] != code) bits[c] |= kNfcMayChange;
  }
  mark(bits, std::array{CodePointRange{0x1161, 0x1175}, CodePointRange{0x11A8, 0x11C2}}, kNfcMayChange);
}

std::vector<uint16_t> all_bits() {
  std::vector<uint16_t> bits(0x110000);
  for (char32_t c = 0; c < bits.size(); ++c) {
    if (c == 0x40000) c = 0xE0000;  // planes 4 to 13 are unassigned
    if (c == 0xE1000) break;        // and private use, without a class, is all that follows
    bits[c] = bits_of_category(utf8proc_category(static_cast<utf8proc_int32_t>(c)));
  }
  mark(bits, kWhite, kSpace);
  mark(bits, kLetters, kCasedLetter);
  mark(bits, kPunct, kListedPunct);
  mark(bits, kWide, kWideIdeograph);
  mark(bits, kHanKana, kKanaOrHan);
  bits['\r'] |= kNewline;
  bits['\n'] |= kNewline;
  mark_nfc(bits);
  return bits;
}

}  // namespace

UnicodeClasses::UnicodeClasses() {
  const std::vector<uint16_t> bits = all_bits();
  std::map<std::vector<uint16_t>, uint16_t> known;
  for (size_t page = 0; page < pages_.size(); ++page) {
    const auto first = bits.begin() + static_cast<ptrdiff_t>(page << 8);
    const auto [entry, is_new] = known.try_emplace({first, first + 256}, static_cast<uint16_t>(known.size()));
    if (is_new) bits_.insert(bits_.end(), first, first + 256);
    pages_[page] = entry->second;
  }
}

const UnicodeClasses& UnicodeClasses::get() {
  static const UnicodeClasses classes;
  return classes;
}

std::span<const CodePointRange> deepseek_llm_letters() { return kLetters; }
std::span<const CodePointRange> deepseek_llm_punctuation() { return kPunct; }

}  // namespace fathom

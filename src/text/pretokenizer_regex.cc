#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>

#include "base/error.h"
#include "text/pretokenizer.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kMaxPatterns = 64, kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMatchLimit = 2'000'000, kHeapLimitKib = 64 * 1024;
constexpr size_t kJitStackBytes = 4 << 20;

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Code = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using MatchData = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using JitStack = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

/// White_Space in place of PCRE2's \s, which has U+180E too. Inside a class only \s can be written out.
std::string with_white_space(std::string_view pattern) {
  constexpr std::string_view kWhite =
      R"(\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i], next = i + 1 < pattern.size() ? pattern[i + 1] : '\0';
    if (c == '\\' && next == 's') {
      out += in_class ? std::string(kWhite) : cat("[", kWhite, "]");
      ++i;
    } else if (c == '\\' && next == 'S' && !in_class) {
      out += cat("[^", kWhite, "]");
      ++i;
    } else if (in_class && c == '[' && next == ':' && pattern.find(":]", i + 2) != pattern.npos) {  // [:alpha:]
      const size_t end = pattern.find(":]", i + 2) + 2;
      out += pattern.substr(i, end - i);
      i = end - 1;
    } else if (c == '\\' && next != '\0') {
      out += {c, next};
      ++i;
    } else {
      if (c == '[' || c == ']') in_class = c == '[';
      out += c;
    }
  }
  return out;
}

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

std::string shown(const std::string& pattern) {
  return cat("pre-tokenizer pattern \"", pattern.substr(0, 200), "\": ");
}

Code compile(const std::string& pattern) {
  if (pattern.size() > kMaxPatternBytes)
    throw Error(cat(shown(pattern), "expected at most ", kMaxPatternBytes, " bytes, found ", pattern.size()));
  const std::string text = with_white_space(pattern);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (!code)
    throw Error(cat(shown(pattern), "expected a regular expression, found ", message_of(error), " at ", offset));
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter runs
  return code;
}

class RegexPretokenizer : public Pretokenizer {
 public:
  explicit RegexPretokenizer(std::span<const std::string> patterns) : patterns_(patterns.begin(), patterns.end()) {
    if (patterns.size() > kMaxPatterns)
      throw Error(cat("pre-tokenizer: expected at most ", kMaxPatterns, " patterns, found ", patterns.size()));
    for (const std::string& pattern : patterns_) codes_.push_back(compile(pattern));
  }

  void split(std::string_view text, Emit emit) const override {
    MatchContext context(pcre2_match_context_create(nullptr));
    JitStack stack(pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr));
    if (!context || !stack) throw ResourceError("pre-tokenizer: expected memory for a match, found none");
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    split_stage(text, 0, context.get(), emit);
  }

 private:
  void split_stage(std::string_view text, size_t stage, pcre2_match_context* context, Emit emit) const {
    if (text.empty()) return;
    if (stage == codes_.size()) return emit(text);
    MatchData match(pcre2_match_data_create(1, nullptr));
    if (!match) throw ResourceError("pre-tokenizer: expected memory for a match, found none");
    size_t gap = 0, at = 0;
    while (at < text.size()) {
      const int found = pcre2_match(codes_[stage].get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                    PCRE2_NO_UTF_CHECK, match.get(), context);
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0)
        throw Error(cat(shown(patterns_[stage]), "expected a match within limits, found ", message_of(found)));
      const size_t begin = pcre2_get_ovector_pointer(match.get())[0], end = pcre2_get_ovector_pointer(match.get())[1];
      if (end <= begin || begin < gap) {  // nothing (or a \K): go on behind the next character
        at = begin < at ? at : begin;
        if (at < text.size()) at += decode_valid_utf8(text.data() + at).size;
        continue;
      }
      split_stage(text.substr(gap, begin - gap), stage + 1, context, emit);
      split_stage(text.substr(begin, end - begin), stage + 1, context, emit);
      gap = at = end;
    }
    split_stage(text.substr(gap), stage + 1, context, emit);
  }

  std::vector<std::string> patterns_;
  std::vector<Code> codes_;
};

}  // namespace

std::unique_ptr<const Pretokenizer> make_regex_pretokenizer(std::span<const std::string> patterns) {
  return std::make_unique<RegexPretokenizer>(patterns);
}

}  // namespace fathom

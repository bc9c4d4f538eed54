// Strings of the template interpreter: UTF-8 bytes in which every byte knows whether the template wrote it (trusted) or
// whether it came with the request (untrusted). Slices and concatenations keep that knowledge, so a special token in a
// user's message is never taken for the template's own. Also the code point helpers that Python's string semantics
// need. Used by the other files of this folder. Values: safe to share between threads when not written.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::jinja {

class Text {
 public:
  struct Run {
    size_t end;  ///< one past the run's last byte; the next run begins here
    bool trusted;
  };

  Text() = default;
  Text(std::string bytes, bool trusted);

  const std::string& bytes() const { return bytes_; }
  size_t size() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  /// Ends ascending, neighbours of different trust, the last end is size().
  const std::vector<Run>& runs() const { return runs_; }
  /// The trust of byte i, i < size().
  bool trusted_at(size_t i) const;
  /// True if no byte is untrusted.
  bool all_trusted() const;

  void append(std::string_view bytes, bool trusted);
  void append(const Text& other) { append(other, 0, other.size()); }
  /// Bytes [begin, end) of `other` with their trust; begin <= end <= other.size().
  void append(const Text& other, size_t begin, size_t end);
  Text slice(size_t begin, size_t end) const;

 private:
  std::string bytes_;
  std::vector<Run> runs_;
};

struct CodePoint {
  char32_t value;
  size_t size;  ///< bytes, at least 1: a broken sequence counts as one byte
};
/// The code point that begins at byte `at` < text.size().
CodePoint code_point_at(std::string_view text, size_t at);
/// The byte where the code point that ends at byte `end` > 0 begins.
size_t code_point_before(std::string_view text, size_t end);
void append_utf8(std::string& out, char32_t code);
/// Number of code points: Python's len().
size_t code_point_count(std::string_view text);
bool is_valid_utf8(std::string_view text);

/// Python's str.isspace for one code point.
bool is_space(char32_t code);
/// The first and one past the last byte that is not white space; {n, n} or {0, 0} where there is none.
size_t skip_space(std::string_view text, size_t begin);
size_t skip_space_back(std::string_view text, size_t end);

}  // namespace fathom::jinja

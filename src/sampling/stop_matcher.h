// Stop strings in streaming text. The engine feeds the detokenizer's pieces and sends on what comes back; text that may
// still turn into a stop string is held back. Works on bytes, so a stop string may span any number of tokens; one that
// is UTF-8 begins with a whole character, so text is never cut inside one. One thread at a time; copies are
// independent.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fathom {

class StopMatcher {
 public:
  static constexpr size_t kMostStrings = 256, kMostBytes = 65536;  ///< bounds on what a request may ask for

  /// Throws Error if a string is empty, or there are more strings or bytes than the bounds.
  explicit StopMatcher(const std::vector<std::string>& stops = {});

  /// Takes the next piece of the text and returns what is now safe to show. The stop string that ends first wins, among
  /// those that end together the one that starts first (the longest); it and all after it is dropped, and from then on
  /// "" is returned. How the text is cut into pieces changes nothing but when its parts are returned.
  std::string feed(std::string_view piece);

  /// The text ended: returns what was held back; "" after a hit.
  std::string finish();

  /// Index of the stop string that was found, among equal ones the first; nullopt: none so far.
  std::optional<size_t> hit() const { return hit_; }
  /// Bytes held back.
  size_t held() const { return held_.size(); }

 private:
  // A node of the automaton of Aho and Corasick (1975) stands for a prefix of stop strings: the longest one that the
  // text so far ends with. So its depth is the number of bytes to hold back.
  struct Node {
    std::vector<std::pair<uint8_t, uint32_t>> next;  // ascending by byte
    uint32_t fail = 0;                               // node of the longest proper suffix that is a prefix too
    uint32_t depth = 0;
    std::optional<uint32_t> stop;  // the longest stop string that ends here
  };
  void insert(const std::string& stop, uint32_t index);
  void link_suffixes();
  std::optional<uint32_t> child(uint32_t node, uint8_t byte) const;
  uint32_t step(uint32_t node, uint8_t byte) const;

  std::vector<Node> nodes_;        // 0 is the root, the empty prefix
  std::vector<uint32_t> lengths_;  // of the stop strings
  uint32_t node_ = 0;
  std::string held_;
  std::optional<size_t> hit_;
};

}  // namespace fathom

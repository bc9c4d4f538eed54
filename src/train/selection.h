// Which answers rejection sampling keeps: the right ones, each once, readable, so many to a prompt. Called by the stage
// reject. Values: one thread.
#pragma once
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace fathom {

struct GradedAnswer {
  std::string thinking, text;  ///< thinking empty: none
  double reward = 0;
  bool truncated = false;
};

struct SelectionRule {
  double min_reward = 1;
  size_t keep = 0;              ///< to a prompt; 0: all
  bool drop_all_right = false;  ///< prompts that teach nothing (spec/training.md 8: pass rates between 0 and 1)
  bool readable = true;
};

/// So far. An answer that is not kept counts once, by the first rule that it failed, in this order.
struct SelectionCounts {
  uint64_t prompts = 0, answers = 0;
  uint64_t truncated = 0;   ///< cut off, whatever they would have earned
  uint64_t wrong = 0;       ///< below min_reward
  uint64_t easy = 0;        ///< to prompts that were dropped because all their answers were right
  uint64_t unreadable = 0;  ///< why_unreadable says something
  uint64_t duplicates = 0;  ///< of an answer kept to the same prompt; white space does not count
  uint64_t surplus = 0;     ///< right, but more than `keep`
  uint64_t kept = 0;
};

class Selection {
 public:
  explicit Selection(const SelectionRule& rule) : rule_(rule) {}
  /// The places of the answers that are kept, ascending. A prompt that comes again goes on where it was: its answers
  /// are told apart from the kept ones, and `keep` counts for all of them.
  std::vector<size_t> select(std::string_view prompt, std::span<const GradedAnswer> answers);
  /// An answer that was kept before, of a run that goes on; `counts` is set beside it.
  void remember(std::string_view prompt, const GradedAnswer& answer);
  SelectionCounts& counts() { return counts_; }

 private:
  SelectionRule rule_;
  SelectionCounts counts_;
  std::set<Blake2b256::Digest> seen_;             // of prompt and answer
  std::map<Blake2b256::Digest, size_t> kept_of_;  // by prompt
};

/// Empty, or what makes a chain of thought unfit to be learned (spec/training.md 4.2: mixed languages, long paragraphs,
/// code): "a block of code", "a paragraph of N characters" (more than 4,000), "N% of its words in the prompt's script"
/// (less than 90). Words are runs of Latin letters, and each CJK character (spec/training.md 3.2); what stands between
/// ` or $ or in \( \) and \[ \] is none. The script is the prompt's more frequent one, or, where the prompt has no
/// words, the thinking's own. Both bounds are ours: the paper gives none.
std::string why_unreadable(std::string_view thinking, std::string_view prompt);

}  // namespace fathom

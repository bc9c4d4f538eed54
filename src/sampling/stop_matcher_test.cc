#include "sampling/stop_matcher.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "tests/testing.h"

namespace fathom {
namespace {

struct Outcome {
  std::string shown;
  std::optional<size_t> hit;
};

// The definition by brute force: the smallest end over all stop strings, among those the smallest start.
Outcome by_search(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> best;
    for (size_t i = 0; i < stops.size(); ++i)
      if (text.substr(0, end).ends_with(stops[i]) && (!best || stops[i].size() > stops[*best].size())) best = i;
    if (best) return {text.substr(0, end - stops[*best].size()), best};
  }
  return {text, std::nullopt};
}

// The longest suffix of text that begins a stop string and is not a whole one.
size_t must_hold(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t n = text.size(); n > 0; --n)
    for (const std::string& s : stops)
      if (n < s.size() && s.starts_with(text.substr(text.size() - n))) return n;
  return 0;
}

TEST(StopMatcher, EqualsSearchForAnyCutsAndHoldsNoMoreThanNeeded) {
  int hits = 0;
  for (uint32_t trial = 0; trial < 4000; ++trial) {
    uint32_t i = 0;
    const auto below = [&](size_t n) {
      return static_cast<size_t>(philox_uniform(11, {i++, trial, 0, 0}) * static_cast<double>(n));
    };
    const auto word = [&](size_t length) {
      std::string s;
      while (s.size() < length) s += static_cast<char>('a' + below(2 + trial % 3));
      return s;
    };
    std::vector<std::string> stops(below(6));
    for (std::string& s : stops) s = word(1 + below(7));
    const std::string text = word(below(60));
    const Outcome want = by_search(text, stops);
    hits += want.hit.has_value();

    StopMatcher matcher(stops);
    std::string shown, fed;
    while (fed.size() < text.size()) {
      const std::string piece = text.substr(fed.size(), below(6));
      fed += piece;
      shown += matcher.feed(piece);
      if (matcher.hit()) break;
      ASSERT_EQ(matcher.held(), must_hold(fed, stops)) << fed;
      ASSERT_EQ(shown.size() + matcher.held(), fed.size());
    }
    shown += matcher.finish();
    ASSERT_EQ(shown, want.shown) << text;
    ASSERT_EQ(matcher.hit(), want.hit);
    if (matcher.hit()) {
      ASSERT_EQ(matcher.feed("more"), "");
    }
  }
  EXPECT_GT(hits, 1000);
}

TEST(StopMatcher, SpansPiecesAndLetsGoOfWhatCannotMatch) {
  StopMatcher m({"</answer>", "\n\nQ:"});
  EXPECT_EQ(m.feed("42</ans"), "42");
  EXPECT_EQ(m.feed("w"), "");  // still a beginning
  EXPECT_EQ(m.feed("ong\n"), "</answong");
  EXPECT_EQ(m.feed("\n"), "");
  EXPECT_EQ(m.feed("\nQ"), "\n");
  EXPECT_EQ(m.feed(": next"), "");
  EXPECT_EQ(m.hit(), 1u);
  EXPECT_EQ(m.feed("never shown"), "");
  EXPECT_EQ(m.finish(), "");
}

TEST(StopMatcher, EndOfTextReleasesWhatIsHeld) {
  StopMatcher m({"STOP"});
  EXPECT_EQ(m.feed("a ST"), "a ");
  EXPECT_EQ(m.held(), 2u);
  EXPECT_EQ(m.finish(), "ST");
  EXPECT_FALSE(m.hit());
  EXPECT_EQ(m.feed("OP"), "OP");  // a new text
}

TEST(StopMatcher, EarliestEndThenLeftmostStart) {
  StopMatcher a({"bcd", "c"}), b({"c", "abc", "bc"}), c({"x", "x"});
  EXPECT_EQ(a.feed("abcd"), "ab");
  EXPECT_EQ(a.hit(), 1u);
  EXPECT_EQ(b.feed("zabc"), "z");
  EXPECT_EQ(b.hit(), 1u);
  EXPECT_EQ(c.feed("x"), "");
  EXPECT_EQ(c.hit(), 0u);
}

TEST(StopMatcher, HoldsWholeCharacters) {
  StopMatcher m({"é."});
  EXPECT_EQ(m.feed("caf"), "caf");
  EXPECT_EQ(m.feed("é"), "");
  EXPECT_EQ(m.feed("!"), "é!");
}

TEST(StopMatcher, WithoutStopsEverythingPasses) {
  StopMatcher m;
  EXPECT_EQ(m.feed(std::string("a\0b", 3)), std::string("a\0b", 3));
  EXPECT_EQ(m.held(), 0u);
}

TEST(StopMatcher, BoundsAreNamed) {
  EXPECT_THROW(StopMatcher({"a", ""}), Error);
  EXPECT_THROW(StopMatcher(std::vector<std::string>(257, "a")), Error);
  EXPECT_THROW(StopMatcher({std::string(40000, 'a'), std::string(40000, 'b')}), Error);
}

TEST(StopMatcher, AdversarialStopsCostLinearTime) {
  // Every byte but the last fits: a matcher that restarts would take 6e4 * 2e5 steps.
  StopMatcher m({std::string(60000, 'a') + "b"});
  std::string shown;
  for (int i = 0; i < 200; ++i) shown += m.feed(std::string(1000, 'a'));
  EXPECT_EQ(shown.size() + m.held(), 200000u);
  EXPECT_EQ(m.held(), 60000u);
  m.feed("b");
  EXPECT_EQ(m.hit(), 0u);
}

}  // namespace
}  // namespace fathom

// Which answers are kept, by hand.
#include "train/selection.h"

#include "tests/testing.h"

namespace fathom {
namespace {

using ::testing::ElementsAre, ::testing::IsEmpty;

GradedAnswer right(const std::string& text, const std::string& thinking = "") { return {thinking, text, 1, false}; }
const GradedAnswer kWrong{"", "no", 0.5, false}, kCut{"", "cut", 1, true};

/// The counts in the order of their struct.
std::vector<uint64_t> all(const SelectionCounts& c) {
  return {c.prompts, c.answers, c.truncated, c.wrong, c.easy, c.unreadable, c.duplicates, c.surplus, c.kept};
}

TEST(Selection, KeepsRightAnswersOnce) {
  Selection selection({.keep = 2});
  const std::vector<GradedAnswer> answers = {kWrong,          right("4 2"), kCut,        right(" 4\n\t2 "),
                                             right("4", "2"), right("42"),  right("43"), kWrong};
  EXPECT_THAT(selection.select("6*7", answers), ElementsAre(1, 4)) << "thinking is not the answer";
  EXPECT_EQ(all(selection.counts()), (std::vector<uint64_t>{1, 8, 1, 2, 0, 0, 1, 2, 2}));
  EXPECT_THAT(selection.select("42", answers), ElementsAre(1, 4)) << "another prompt";
  EXPECT_THAT(selection.select("6*7", answers), IsEmpty()) << "has its two";
  EXPECT_EQ(all(selection.counts()), (std::vector<uint64_t>{3, 24, 3, 6, 0, 0, 5, 6, 4}));
}

TEST(Selection, TheThresholdIsARight) {
  Selection selection({.min_reward = 0.5});
  EXPECT_THAT(selection.select("p", std::vector{kWrong, right("a"), GradedAnswer{"", "b", 0.49, false}}),
              ElementsAre(0, 1));
}

TEST(Selection, DropsPromptsThatTeachNothing) {
  Selection selection({.drop_all_right = true});
  EXPECT_THAT(selection.select("easy", std::vector{right("a"), right("b")}), IsEmpty());
  EXPECT_THAT(selection.select("cut", std::vector{right("a"), kCut}), ElementsAre(0));
  EXPECT_EQ(all(selection.counts()), (std::vector<uint64_t>{2, 4, 1, 0, 2, 0, 0, 0, 1}));
}

/// A run that goes on selects as one that was never stopped.
TEST(Selection, RemembersWhatWasKept) {
  const std::vector<std::vector<GradedAnswer>> groups = {
      {right("a"), right("a "), right("b")}, {right("b"), right("c"), right("d")}, {right("c", "x"), right("e")}};
  Selection whole({.keep = 4});
  const auto run = [&](Selection& selection, size_t from, size_t to) {
    std::vector<std::string> kept;
    for (size_t i = from; i < to; ++i)
      for (const size_t at : selection.select("p", groups[i])) kept.push_back(groups[i][at].text);
    return kept;
  };
  const std::vector<std::string> want = run(whole, 0, 3);
  EXPECT_THAT(want, ElementsAre("a", "b", "c", "d"));
  for (size_t stop = 0; stop <= 3; ++stop) {
    Selection first({.keep = 4}), second({.keep = 4});
    std::vector<std::string> got = run(first, 0, stop);
    for (const std::string& text : got) second.remember("p", right(text));
    second.counts() = first.counts();
    const std::vector<std::string> rest = run(second, stop, 3);
    got.insert(got.end(), rest.begin(), rest.end());
    EXPECT_EQ(got, want) << stop;
    EXPECT_EQ(all(second.counts()), all(whole.counts())) << stop;
  }
}

TEST(Selection, ThinkingMustBeReadable) {
  const std::string english = "First we add the two numbers and carry the one.", chinese = "我们先把两个数字相加。";
  EXPECT_EQ(why_unreadable("", "anything"), "");
  EXPECT_EQ(why_unreadable(english, "What is 3+4?"), "");
  EXPECT_EQ(why_unreadable(chinese, "三加四等于几？"), "");
  EXPECT_EQ(why_unreadable(english, "3+4="), "") << "no words asked: its own language";
  EXPECT_EQ(why_unreadable("3 + 4 = 7", "三加四等于几？"), "") << "no words to judge";
  // 10 English words, 10 Chinese characters.
  EXPECT_EQ(why_unreadable(english + chinese, "What is it?"), "50% of its words in the prompt's script");
  EXPECT_EQ(why_unreadable(english, "三加四等于几？"), "0% of its words in the prompt's script");
  // One word in eleven is another language's; in a formula or code it is none.
  EXPECT_EQ(why_unreadable(english + " one more 数", "What?"), "");
  EXPECT_EQ(why_unreadable(chinese + "$a + b = \\text{the sum of both}$ `x y z`\\(u v\\)", "几？"), "");
  EXPECT_NE(why_unreadable(chinese + "$a + b", "几？"), "") << "a formula that is not closed is text";
  EXPECT_EQ(why_unreadable("So:\n```\nx = 1\n```", "What?"), "a block of code");
  const std::string words(3999, 'x');
  EXPECT_EQ(why_unreadable(words + "y\n\n" + words, "What?"), "");
  EXPECT_EQ(why_unreadable("a\n\n" + words + "\ny", "What?"), "a paragraph of 4001 characters");
  EXPECT_EQ(why_unreadable("\xff\xfe", "\xff"), "") << "bytes that are no text";

  Selection strict({}), loose({.readable = false});
  const std::vector<GradedAnswer> answers = {right("a", english + chinese), right(chinese + english)};
  EXPECT_THAT(strict.select("What?", answers), ElementsAre(1)) << "the answer may be anything";
  EXPECT_EQ(strict.counts().unreadable, 1u);
  EXPECT_THAT(loose.select("What?", answers), ElementsAre(0, 1));
}

}  // namespace
}  // namespace fathom

// Tasks: the halves do not overlap, the reference answers are right, and cheating answers are not.
#include <set>

#include "base/error.h"
#include "tasks/countdown.h"
#include "tasks/task.h"
#include "tests/precompiled.h"

namespace fathom {
namespace {

TEST(Tasks, ReferenceAnswersEarnTheFullRewardAndEmptyOnesNothing) {
  for (const std::string& name : task_names()) {
    const auto task = make_task(name);
    EXPECT_EQ(task->name(), name);
    for (const Split split : {Split::kTrain, Split::kHeldOut})
      for (uint64_t i = 0; i < 200; ++i) {
        const Example example = task->example(split, 7, i);
        EXPECT_EQ(task->reward(example, example.answer).reward, 1) << example.id;
        EXPECT_EQ(task->reward(example, "\n" + example.answer + " \n").reward, 1) << example.id;
        EXPECT_EQ(task->reward(example, "").reward, 0) << example.id;
        EXPECT_EQ(task->reward(example, example.prompt).reward, name == "countdown" ? 0.1 : 0) << example.id;
        EXPECT_LT(task->reward(example, example.answer + "\n" + "1").reward, 1) << example.id;
      }
  }
}

TEST(Tasks, TrainAndHeldOutProblemsDoNotOverlapWhateverTheSeed) {
  for (const std::string& name : task_names()) {
    const auto task = make_task(name);
    std::set<std::string> train, held_out;
    for (uint64_t i = 0; i < 600; ++i) {
      train.insert(task->example(Split::kTrain, 1, i).id);
      held_out.insert(task->example(Split::kHeldOut, 2, i).id);
    }
    for (const std::string& id : held_out) EXPECT_EQ(train.count(id), 0u) << id;
    EXPECT_GE(held_out.size(), name == "larger-digit" ? 10u : 100u) << name;
    EXPECT_GE(train.size(), held_out.size()) << name;
  }
}

TEST(Tasks, BothOrdersOfTheNumbersAreInTheSameHalf) {
  for (const char* name : {"addition", "larger-digit"}) {
    std::set<std::pair<int, int>> train;
    const auto task = make_task(name);
    const auto pair_of = [&](Split split, uint64_t i) {
      const std::string prompt = task->example(split, 3, i).prompt;
      const size_t sign = prompt.find_first_of("+,");
      return std::pair(std::stoi(prompt), std::stoi(prompt.substr(sign + 1)));
    };
    for (uint64_t i = 0; i < 3000; ++i) train.insert(pair_of(Split::kTrain, i));
    for (uint64_t i = 0; i < 300; ++i) {
      const auto [a, b] = pair_of(Split::kHeldOut, i);
      EXPECT_FALSE(train.contains({a, b}) || train.contains({b, a})) << name << ' ' << a << ' ' << b;
    }
  }
}

TEST(Tasks, ExamplesDependOnSeedAndIndexOnly) {
  const auto task = make_task("addition");
  EXPECT_EQ(task->example(Split::kTrain, 5, 9).prompt, make_task("addition")->example(Split::kTrain, 5, 9).prompt);
  std::set<std::string> prompts;
  for (uint64_t i = 0; i < 50; ++i)
    prompts.insert(task->example(Split::kTrain, 5, i).prompt),
        prompts.insert(task->example(Split::kTrain, 6, i).prompt);
  EXPECT_GT(prompts.size(), 90u);
}

TEST(Tasks, OnlyTheWholeExactAnswerCounts) {
  const auto addition = make_task("addition");
  const Example sum{"addition 34+58", "34+58=", "92"};
  EXPECT_EQ(addition->reward(sum, "92").reward, 1);
  for (const char* cheat : {"92 93", "91 92", "092", "+92", "92.0", "9 2", "92=92", "92,93", "1e2", "ninety-two",
                            "\xEF\xBC\x99\xEF\xBC\x92"})
    EXPECT_EQ(addition->reward(sum, cheat).reward, 0) << cheat;
  const auto sort = make_task("sort");
  const Example digits{"sort 5274", "sort 5274>", "2457"};
  for (const char* cheat : {"5274", "245", "24577", "2,4,5,7", "7542"})
    EXPECT_EQ(sort->reward(digits, cheat).reward, 0);
}

TEST(Tasks, CountdownAcceptsExactlyTheGivenNumbersAndTheTarget) {
  const CountdownTask task;
  const Example example{"countdown 98 from 19 35 44", "", "<answer>44+19+35</answer>"};
  const auto reward = [&](const std::string& text) { return task.reward(example, text).reward; };
  EXPECT_EQ(reward("Let me see.\n<answer>(44 + 19) + 35</answer>"), 1);
  EXPECT_EQ(reward("<answer>1</answer> or <answer>35+19+44</answer>"), 1);
  EXPECT_EQ(reward("<answer>44+(19/1)+35</answer>"), 0.1) << "a number more";
  EXPECT_EQ(reward("44+19+35"), 0) << "no tags";
  EXPECT_EQ(reward("<answer>44+19+35</answer>\nDone."), 0) << "not in the last line";
  EXPECT_EQ(reward("<answer>44+19+35"), 0);
  for (const char* cheat : {"98",
                            "44+54",
                            "44+19+35=98",
                            "44+19+35+0",
                            "44+19",
                            "44+19+35-44+44",
                            "44+19+19",
                            "-(0-98)",
                            "+44+19+35",
                            "44--19+35",
                            "044+19+35",
                            "44.0+19+35",
                            "44+19+3 5",
                            "44+19+35 #",
                            "4 4+19+35",
                            "",
                            "((44+19+35)",
                            "44+19+35)",
                            "44**1+19+35",
                            "x",
                            "98 if 44+19+35 else 0",
                            "44,19,35"})
    EXPECT_EQ(reward(std::string("<answer>") + cheat + "</answer>"), 0.1) << cheat;
}

TEST(Tasks, ArithmeticIsExact) {
  const auto value = [](std::string_view text) { return evaluate_arithmetic(text)->value; };
  EXPECT_EQ(value("1/3+1/6"), (Rational{1, 2}));
  EXPECT_EQ(value("8/(3-8/3)"), (Rational{24, 1}));
  EXPECT_EQ(value("2-3-4"), (Rational{-5, 1}));
  EXPECT_EQ(value("100/10/5*3"), (Rational{6, 1}));
  EXPECT_EQ(value("2+3*4"), (Rational{14, 1}));
  EXPECT_EQ(evaluate_arithmetic("12*(3+4)")->numbers, (std::vector<int64_t>{12, 3, 4}));
  for (const char* wrong : {"2**3", "7//2", "1/0", "1/(2-2)", "3(4)", "(3)4", "2 3", "1+", "*2", "()", "99999999999"})
    EXPECT_FALSE(evaluate_arithmetic(wrong)) << wrong;
  // 2^63 - 1 = 999999999^2 * 9.2...: the third factor overflows, and is refused rather than wrapped.
  EXPECT_TRUE(evaluate_arithmetic("999999999*999999999"));
  EXPECT_FALSE(evaluate_arithmetic("999999999*999999999*999999999"));
  EXPECT_FALSE(evaluate_arithmetic(std::string(2000, '('))) << "bounded depth";
}

TEST(Tasks, AnUnknownNameIsRefusedWithTheKnownOnes) {
  try {
    make_task("additoin");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("addition, larger-digit"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fathom

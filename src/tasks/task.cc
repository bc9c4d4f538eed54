#include "tasks/task.h"

#include <algorithm>

#include "base/error.h"
#include "base/trimmed.h"
#include "tasks/countdown.h"
#include "tasks/draw.h"

namespace fathom {
namespace {

/// Tasks with one right answer, which must be the whole completion.
class ExactTask : public Task {
 public:
  Reward reward(const Example& example, std::string_view completion) const override {
    const double correct = trimmed(completion) == example.answer ? 1 : 0;
    return {correct, {{"correct", correct}}};
  }
};

class AdditionTask : public ExactTask {
 public:
  std::string_view name() const override { return "addition"; }
  Example example(Split split, uint64_t seed, uint64_t index) const override {
    for (Draw draw(seed, index);;) {
      const int a = draw.integer(10, 99), b = draw.integer(10, 99);
      if (split_of(cat("addition ", std::min(a, b), '+', std::max(a, b)), 10) == split)
        return {cat("addition ", a, '+', b), cat(a, '+', b, '='), cat(a + b)};
    }
  }
};

class LargerDigitTask : public ExactTask {
 public:
  std::string_view name() const override { return "larger-digit"; }
  Example example(Split split, uint64_t seed, uint64_t index) const override {
    for (Draw draw(seed, index);;) {
      const int a = draw.integer(0, 9), b = draw.integer(0, 9);
      if (a != b && split_of(cat("larger-digit ", std::min(a, b), ',', std::max(a, b)), 5) == split)
        return {cat("larger-digit ", a, ',', b), cat(a, ',', b, '>'), cat(std::max(a, b))};
    }
  }
};

std::string random_letters(Draw& draw, char first, char last) {
  std::string text(static_cast<size_t>(draw.integer(3, 8)), '\0');
  for (char& c : text) c = static_cast<char>(draw.integer(first, last));
  return text;
}

class CopyTask : public ExactTask {
 public:
  std::string_view name() const override { return "copy"; }
  Example example(Split split, uint64_t seed, uint64_t index) const override {
    for (Draw draw(seed, index);;) {
      const std::string text = random_letters(draw, 'a', 'z'), id = "copy " + text;
      if (split_of(id, 10) == split) return {id, id + ">", text};
    }
  }
};

class SortTask : public ExactTask {
 public:
  std::string_view name() const override { return "sort"; }
  Example example(Split split, uint64_t seed, uint64_t index) const override {
    for (Draw draw(seed, index);;) {
      const std::string text = random_letters(draw, '0', '9'), id = "sort " + text;
      std::string answer = text;
      std::sort(answer.begin(), answer.end());
      if (split_of("sort " + answer, 10) == split) return {id, id + ">", answer};
    }
  }
};

template <class T>
std::unique_ptr<const Task> make() {
  return std::make_unique<T>();
}
using Maker = std::unique_ptr<const Task> (*)();
constexpr std::pair<std::string_view, Maker> kTasks[] = {{"addition", make<AdditionTask>},
                                                         {"larger-digit", make<LargerDigitTask>},
                                                         {"countdown", make<CountdownTask>},
                                                         {"copy", make<CopyTask>},
                                                         {"sort", make<SortTask>}};

}  // namespace

std::unique_ptr<const Task> make_task(std::string_view name) {
  std::string names;
  for (const auto& [known, maker] : kTasks) {
    if (known == name) return maker();
    names += cat(names.empty() ? "" : ", ", known);
  }
  throw Error(cat("task: expected one of ", names, ", found '", name, "'"));
}

std::vector<std::string> task_names() {
  std::vector<std::string> names;
  for (const auto& [name, maker] : kTasks) names.emplace_back(name);
  return names;
}

}  // namespace fathom

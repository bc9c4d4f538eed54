#include "train/problems.h"

#include "train/json_lines.h"

namespace fathom {
namespace {

std::vector<Example> read_problems(const std::vector<std::string>& files) {
  std::vector<Example> out;
  for (const std::string& file : files)
    for_each_json_line(file, [&](const JsonObject& line, uint64_t /*bytes*/) {
      out.push_back({line.what(), line.string("prompt"), line.string_or("answer", "")});
    });
  if (out.empty()) throw Error("data.train: expected at least one problem, found none");
  return out;
}

}  // namespace

RecipeProblems::RecipeProblems(const ProblemSource& source, const Tokenizer& tokenizer,
                               const ChatTemplate* chat_template)
    : split_(source.split), seed_(source.seed), tokenizer_(tokenizer), chat_template_(chat_template) {
  if (!source.task.empty())
    task_ = make_task(source.task);
  else
    from_files_ = read_problems(source.files);
  if (!source.reward_program.empty())
    program_ = std::make_unique<RewardProgram>(std::vector<std::string>{source.reward_program});
}

Example RecipeProblems::example(uint64_t index) const {
  return task_ ? task_->example(split_, seed_, index) : from_files_[index % from_files_.size()];
}

std::vector<TextPiece> RecipeProblems::prompt_text(uint64_t index) const {
  const TokenizerSpec& spec = tokenizer_.spec();
  const auto text_of = [&](const std::optional<TokenId>& id) { return id ? tokenizer_.token_bytes(*id) : ""; };
  const std::string text = example(index).prompt;
  if (!chat_template_) {
    if (!spec.add_bos || !spec.bos) return {{text, false}};
    return {{text_of(spec.bos), true}, {text, false}};
  }
  RenderOptions options;
  options.messages.push_back(json::object{{"role", "user"}, {"content", text}});
  options.bos_token = text_of(spec.bos), options.eos_token = text_of(spec.eos);
  return chat_template_->render(options);
}

std::vector<TokenId> RecipeProblems::prompt(uint64_t index) { return tokenizer_.encode(prompt_text(index)); }

std::span<const TokenId> RecipeProblems::written(const Rollout& answer) const {
  const std::span<const TokenId> ids = answer.completion();
  return !ids.empty() && tokenizer_.is_end_of_generation(ids.back()) ? ids.first(ids.size() - 1) : ids;
}

double RecipeProblems::reward(uint64_t index, const Rollout& answer) {
  const Example problem = example(index);
  const std::string text = tokenizer_.decode(written(answer));
  if (!program_) return task_->reward(problem, text).reward;
  const RewardRequest request{problem.prompt, text, problem.answer};
  return program_->rewards({&request, 1}).front();
}

}  // namespace fathom

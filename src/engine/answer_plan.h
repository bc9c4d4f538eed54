// What an answer must consist of, step by step: a text of some grammar, or calls of tools in the model's own form. Made
// once per request from its schemas; followed by engine/constraint.h. Immutable: any number of threads may read it.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/engine.h"
#include "sampling/grammar/grammar.h"
#include "sampling/grammar/grammar_cache.h"

namespace fathom {

/// Part of an answer: tokens that are sure, then a text of the grammar.
struct AnswerStep {
  std::vector<TokenId> tokens = {};
  std::optional<Grammar> grammar = {};
  /// By what the step before wrote: the grammar of this one, in place of `grammar`.
  std::map<std::string, Grammar> by_text = {};
  /// A token that may end the text where the grammar may finish, the next step's first one; nullopt: none.
  std::optional<TokenId> ending = {};
};

struct AnswerPlan {
  std::vector<AnswerStep> steps;
  /// From which step on it may begin again when all are done, until the model ends the answer; nullopt: it is over.
  std::optional<size_t> again = {};
  /// The steps come in force when the model draws the first of their tokens; until then the text is free.
  bool when_begun = false;
};

/// The whole answer is a text of the grammar.
std::shared_ptr<const AnswerPlan> text_plan(Grammar grammar);

/// How tools are called.
struct ToolPlanOptions {
  std::string name = {};  ///< the tool that must be called; empty: any
  bool required = false;  ///< the answer is a call; else that is the model's choice
  bool several = true;    ///< a call may follow a call
};

/// Calls of `tools` (OpenAI's form) with arguments that satisfy their schemas, in the form that the model's template
/// asks for (output_format of `engine`, or Hermes' where it has none). Throws Error naming the tool whose schema is not
/// taken. Null: the form's markers are no tokens and the choice is the model's, so that nothing can be bound.
std::shared_ptr<const AnswerPlan> tool_plan(const Engine& engine, const json::array& tools,
                                            const ToolPlanOptions& options, GrammarCache& cache);

/// How answers are read if tools were offered: the model's own form, or Hermes' in text where it has none.
OutputFormat tool_format(const Engine& engine);

}  // namespace fathom

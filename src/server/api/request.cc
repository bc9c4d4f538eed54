#include "server/api/request.h"

#include "server/api/error.h"

namespace fathom {

SamplingParams SamplingWishes::apply(SamplingParams p) const {
  p.temperature = temperature.value_or(p.temperature);
  p.top_p = top_p.value_or(p.top_p);
  p.top_k = top_k.value_or(p.top_k);
  p.min_p = min_p.value_or(p.min_p);
  p.repetition_penalty = repetition_penalty.value_or(p.repetition_penalty);
  p.penalty_window = penalty_window.value_or(p.penalty_window);
  p.presence_penalty = presence_penalty.value_or(p.presence_penalty);
  p.frequency_penalty = frequency_penalty.value_or(p.frequency_penalty);
  for (const auto& [id, bias] : logit_bias) p.logit_bias[id] = bias;
  p.seed = seed ? *seed : draw_seed() >> 11;  // of 53 bits: JSON numbers carry it back, from JavaScript too
  p.validate();
  return p;
}

ThinkingWish thinking_of_effort(const std::string& effort, const std::string& param) {
  if (effort == "none") return {false, {}};
  if (effort == "minimal" || effort == "low") return {true, 1024};
  if (effort == "medium" || effort == "high" || effort == "xhigh" || effort == "max" || effort == "ultra")
    return {true, {}};
  throw wrong_field(param, cat(param, ": expected none, minimal, low, medium, high or max, found '", effort, "'"));
}

ScriptSet scripts_of_wish(const std::string& language) {
  if (const auto scripts = scripts_of_language(language)) return *scripts;
  throw wrong_field("language", cat("language: expected ", kScriptNames, ", found '", language.substr(0, 60), "'"));
}

}  // namespace fathom

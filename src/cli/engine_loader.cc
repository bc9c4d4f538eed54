#include "cli/engine_loader.h"

#include "base/error.h"
#include "cli/folders.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/sanitize.h"
#include "engine/answer.h"
#include "engine/engine.h"
#include "engine/identity.h"
#include "kernels/kernels.h"

namespace fathom {

EngineOptions engine_options(const Settings& settings) {
  EngineOptions options;
  if (const auto profile = settings.text("profile")) options.profile = profile_from_name(*profile);
  if (const auto type = settings.text("cache-type")) options.cache_type = cache_type_from_name(*type);
  options.threads = settings.count("threads").value_or(0);
  options.ctx = settings.count("ctx").value_or(0);
  options.adapter = settings.text("adapter").value_or("");
  if (settings.text("repack-cache") != "off") options.repack_folder = repack_folder();
  if (const Settings::Entry* wanted = settings.find("kernels")) {
    std::string usable;
    for (const Kernels* kernels : usable_kernels()) {
      if (wanted->value == kernels->name) options.kernels = kernels;
      usable += (usable.empty() ? "" : ", ") + std::string(kernels->name);
    }
    if (!options.kernels)
      throw UsageError(
          cat(wanted->source, ": expected kernels that run here (", usable, "), found '", wanted->value, "'"));
  }
  return options;
}

std::unique_ptr<Engine> load_engine(const std::string& model, EngineOptions options, const std::string& template_file) {
  const std::string source = template_file.empty() ? "" : read_text_file(template_file, 1 << 22);
  ProgressBar bar("loading", terminal_of(2));
  options.identity_memory = state_folder() / "weights-ids.json";
  options.progress = [&bar](uint64_t done, uint64_t total) { bar.show(done, total); };
  std::unique_ptr<Engine> engine = Engine::load(find_model(model), options);
  bar.clear();
  for (const std::string& note : engine->info().notes) print_err(sanitized(cat("note: ", note)) + "\n");
  if (!template_file.empty()) engine->set_chat_template(source);
  return engine;
}

SamplingParams sampling_params(const Engine& engine, const Settings& settings) {
  SamplingParams p = default_sampling(engine);
  p.temperature = settings.number("temperature").value_or(p.temperature);
  p.top_p = settings.number("top-p").value_or(p.top_p);
  p.top_k = static_cast<int>(settings.count("top-k").value_or(static_cast<uint64_t>(p.top_k)));
  p.min_p = settings.number("min-p").value_or(p.min_p);
  p.repetition_penalty = settings.number("repetition-penalty").value_or(p.repetition_penalty);
  p.presence_penalty = settings.number("presence-penalty").value_or(p.presence_penalty);
  p.frequency_penalty = settings.number("frequency-penalty").value_or(p.frequency_penalty);
  const auto seed = settings.count("seed");
  p.seed = seed ? *seed : draw_seed();
  try {
    p.validate();
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  return p;
}

AnswerOptions answer_options(const Engine& engine, const Settings& settings) {
  AnswerOptions options;
  options.sampling = sampling_params(engine, settings);
  options.max_tokens = settings.count("max-tokens").value_or(0);
  if (const auto budget = settings.count("budget")) options.thinking_budget = *budget;
  if (const auto language = settings.text("language")) {
    const std::optional<ScriptSet> scripts = scripts_of_language(*language);
    if (!scripts) throw UsageError(cat("--language: expected ", kScriptNames, ", found '", *language, "'"));
    options.language = engine.script_mask(*scripts);
  }
  options.speculate = settings.text("speculate") != "off";
  return options;
}

std::string first_line(const Engine& engine, uint64_t seed) {
  const EngineInfo& info = engine.info();
  const std::string model = std::filesystem::path(info.path).filename().string();
  const std::string adapter = info.adapter.empty() ? "" : cat(", adapter ", info.adapter);
  return sanitized(cat(model.empty() ? info.path : model, adapter, ", profile ", name(info.profile), ", cache ",
                       name(info.cache_type), ", kernels ", info.kernels, ", ", info.threads,
                       info.threads == 1 ? " thread" : " threads", ", ctx ", info.ctx, ", seed ", seed));
}

}  // namespace fathom

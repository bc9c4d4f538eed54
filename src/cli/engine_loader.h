// From settings to a loaded engine and to the options of an answer; the first line of every run. Main thread.
#pragma once
#include <memory>
#include <string>

#include "cli/settings.h"

namespace fathom {

class Engine;
struct EngineOptions;
struct AnswerOptions;
struct SamplingParams;

/// Throws UsageError for kernels that are unknown or cannot run here.
EngineOptions engine_options(const Settings& settings);

/// Finds and loads the model, with a progress bar on a terminal's stderr. `template_file`: a chat template instead of
/// the model's; empty: the model's. Errors are those of find_model and Engine::load.
std::unique_ptr<Engine> load_engine(const std::string& model, EngineOptions options,
                                    const std::string& template_file = "");

/// The publisher's sampling, then the settings. The seed is drawn where nobody set it.
SamplingParams sampling_params(const Engine& engine, const Settings& settings);
AnswerOptions answer_options(const Engine& engine, const Settings& settings);

/// "model, profile int8, cache bf16, kernels avx512, 8 threads, ctx 8192, seed 7"
std::string first_line(const Engine& engine, uint64_t seed);

}  // namespace fathom

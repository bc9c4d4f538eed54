// What a run starts from: masters, their configuration, and a tokenizer; and the model folders that it writes.
// Called by the training loop. One thread.
#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "train/masters.h"
#include "train/recipe.h"

namespace fathom {

struct StartModel {
  Masters masters;                                    ///< without parameters where an adapter is trained
  std::shared_ptr<const Model> frozen;                ///< what an adapter is trained beside, as stored; null: none is
  Profile profile = Profile::kExact;                  ///< how linears are computed
  std::string config_json;                            ///< the text of config.json for folders that are written
  std::filesystem::path tokenizer_folder;             ///< whose tokenizer files go with it; empty: none
  std::unique_ptr<const Tokenizer> tokenizer;         ///< null: none
  std::unique_ptr<const ChatTemplate> chat_template;  ///< null: none
  std::string tokenizer_identity;
};

/// As the recipe says: new weights for a config.json (model.config), or the masters of model.start; `start` is that
/// model's folder, found by the caller. A tokenizer of single bytes ("characters": those of the training texts or
/// the task;
/// "bytes": all) is written into run/tokenizer, and a config.json whose vocab_size is 0 or absent takes its size, one
/// without eos_token_id its end token. `resume`: a checkpoint folder of this run, whose weights are taken instead.
/// With lora.rank the start model stays frozen and may be any file that runs, quantised too; then train.profile auto is
/// the file's own (spec/numerics.md 1).
/// Throws Error naming the file and what is wrong with it.
StartModel start_model(const Recipe& recipe, const std::filesystem::path& start, const std::filesystem::path& run,
                       const std::filesystem::path& resume, size_t threads);

/// Writes a Hugging Face folder: config.json, model.safetensors (f32, all parameters and router biases, or `averages`
/// in their place) and the tokenizer's files. Returns the names of the files.
std::vector<std::string> write_model_folder(const std::filesystem::path& folder, const StartModel& model,
                                            const NamedTensors& averages = {});

}  // namespace fathom

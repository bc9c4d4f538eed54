#include "train/start_model.h"

#include <map>

#include "base/json.h"
#include "engine/engine.h"
#include "formats/atomic_file.h"
#include "formats/config_json.h"
#include "formats/safetensors.h"
#include "formats/tokenizer_json.h"
#include "tasks/task.h"
#include "train/character_tokenizer.h"
#include "train/token_cache.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

/// What of a model folder belongs to its tokenizer and its use.
constexpr std::array kTokenizerFiles = {
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json",
    "merges.txt",     "chat_template.jinja",   "added_tokens.json",       "generation_config.json"};

void write_file(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

/// Writes a tokenizer of single bytes unless this run has one.
fs::path byte_tokenizer(const Recipe& recipe, const fs::path& run) {
  const fs::path folder = run / "tokenizer";
  if (fs::exists(folder / "tokenizer.json")) return folder;
  fs::create_directories(folder);
  std::string text;
  if (recipe.model.tokenizer == "characters")
    for (const std::vector<std::string>* list : {&recipe.data.train, &recipe.data.validation})
      for (const std::string& file : *list) text += read_text_file(file);
  if (!recipe.data.task.empty())
    for (size_t i = 0; i < 1000; ++i) {
      const Example e = make_task(recipe.data.task)->example(Split::kTrain, static_cast<uint64_t>(recipe.seed), i);
      text += e.prompt + e.answer;
    }
  write_character_tokenizer(folder, recipe.model.tokenizer == "characters" ? std::string_view(text) : all_bytes());
  return folder;
}

/// config.json for the weights that are written: f32, whatever it was before. `bytes`: the tokenizer of single bytes
/// that the model is made for, or null; where the file does not say, its size and end token are taken, not the defaults
/// that readers have for an absent eos_token_id.
std::string plain_config(const fs::path& path, const Tokenizer* bytes) {
  json::value value = read_json_file(path);
  if (!value.is_object()) throw Error(cat(path.string(), ": expected an object, found something else"));
  json::object& config = value.as_object();
  config.erase("quantization_config");
  config["torch_dtype"] = "float32";
  if (bytes) {
    const json::value* size = config.if_contains("vocab_size");
    if (!size || *size == 0) config["vocab_size"] = bytes->vocab_size();
    if (!config.contains("bos_token_id")) config["bos_token_id"] = nullptr;
    for (size_t id = 0; id < bytes->vocab_size() && !config.contains("eos_token_id"); ++id)
      if (bytes->is_end_of_generation(static_cast<TokenId>(id))) config["eos_token_id"] = id;
  }
  return to_json(value, {.indent = 2}) + "\n";
}

}  // namespace

namespace {

StartModel frozen_model(const Recipe& recipe, const fs::path& start, size_t threads) {
  const std::unique_ptr<Checkpoint> checkpoint = open_checkpoint(start);
  StartModel out{Masters::none(checkpoint->config()), load_model(*checkpoint, {.threads = threads})};
  out.profile = choose_numerics({.profile = profile_from_name(recipe.train.profile)}, checkpoint->tensors()).profile;
  if (std::optional<TokenizerSpec> spec = checkpoint->tokenizer()) {
    out.tokenizer_identity = tokenizer_identity(*spec);
    if (!spec->chat_template.empty()) out.chat_template = std::make_unique<ChatTemplate>(spec->chat_template);
    out.tokenizer = std::make_unique<Tokenizer>(std::move(*spec));
  }
  return out;
}

}  // namespace

StartModel start_model(const Recipe& recipe, const fs::path& start, const fs::path& run, const fs::path& resume,
                       size_t threads) {
  if (recipe.lora.rank != 0) return frozen_model(recipe, start, threads);
  const bool own_bytes = recipe.model.tokenizer == "characters" || recipe.model.tokenizer == "bytes";
  const fs::path tokenizer_folder = own_bytes                         ? byte_tokenizer(recipe, run)
                                    : !recipe.model.tokenizer.empty() ? fs::path(recipe.model.tokenizer)
                                                                      : start;
  std::unique_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<const ChatTemplate> chat_template;
  std::string identity;
  if (fs::exists(tokenizer_folder / "tokenizer.json")) {
    TokenizerSpec spec = *tokenizer_from_folder(tokenizer_folder);
    identity = tokenizer_identity(spec);
    if (!spec.chat_template.empty()) chat_template = std::make_unique<ChatTemplate>(spec.chat_template);
    tokenizer = std::make_unique<Tokenizer>(std::move(spec));
  }
  const fs::path config_path = start.empty() ? fs::path(recipe.model.config) : start / "config.json";
  std::string config_json = plain_config(config_path, own_bytes ? tokenizer.get() : nullptr);
  const json::value value = parse_json(config_json, config_path.string());
  const ModelConfig config = config_from_json(JsonObject(value, config_path.string()));
  const fs::path weights = resume.empty() ? start : resume;
  Masters masters = weights.empty()
                        ? Masters::draw(config, {recipe.model.init_std, static_cast<uint64_t>(recipe.seed)}, threads)
                        : Masters::from(*open_checkpoint(weights), threads);
  StartModel out{std::move(masters), nullptr};
  if (recipe.train.profile == "int8")
    throw Error("train.profile: expected auto, exact or bf16 for trained weights, found int8");
  if (recipe.train.profile == "bf16") out.profile = choose_numerics({.profile = Profile::kBF16}, {}).profile;
  out.config_json = std::move(config_json);
  if (tokenizer) out.tokenizer_folder = tokenizer_folder;
  out.tokenizer = std::move(tokenizer);
  out.chat_template = std::move(chat_template);
  out.tokenizer_identity = std::move(identity);
  return out;
}

std::vector<std::string> write_model_folder(const fs::path& folder, const StartModel& model,
                                            const NamedTensors& averages) {
  std::vector<std::string> files = {"config.json", "model.safetensors"};
  write_file(folder / files[0], model.config_json);
  std::map<std::string, Tensor> tensors;
  for (const std::vector<Parameter>* list : {&model.masters.parameters(), &model.masters.router_biases()})
    for (const Parameter& p : *list) tensors[p.name] = p.value;
  for (const auto& [name, value] : averages) tensors[name.substr(name.find('.') + 1)] = value;  // "ema.NAME"
  write_safetensors(folder / files[1], {tensors.begin(), tensors.end()}, {{"format", "pt"}});
  if (model.tokenizer_folder.empty()) return files;
  for (const char* name : kTokenizerFiles) {
    if (!fs::is_regular_file(model.tokenizer_folder / name)) continue;
    write_file(folder / name, read_text_file(model.tokenizer_folder / name));
    files.emplace_back(name);
  }
  return files;
}

}  // namespace fathom

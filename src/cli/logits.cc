// fathom logits: what the model computes for given tokens, as safetensors, for comparison with another implementation.
#include <CLI/CLI.hpp>
#include <cstring>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/output.h"
#include "engine/forced.h"
#include "engine/memory.h"
#include "formats/safetensors.h"

namespace fathom {
namespace {

struct LogitsCommand {
  std::string model, ids, out;
  size_t chunk = 0;
  bool layers = false, json = false;
};

using Sequences = std::vector<std::vector<TokenId>>;
using Named = std::vector<std::pair<std::string, Tensor>>;

Sequences read_ids(const std::string& file) {
  const json::value root = read_json_file(file);
  const json::array* list = root.if_array();
  if (!list || list->empty())
    throw Error(
        cat(file, ": expected a list of lists of ids, found ", list ? "an empty list" : "another kind of value"));
  Sequences sequences;
  for (const json::value& row : *list) {
    sequences.push_back(ids_from_json(row, cat(file, ": row ", sequences.size())));
    if (sequences.back().empty())
      throw Error(cat(file, ": row ", sequences.size() - 1, ": expected at least one id, found none"));
  }
  return sequences;
}

Named tensors_of(const ForcedOutputs& outputs) {
  Named named{{"logits", outputs.logits}};
  for (size_t i = 0; i < outputs.layer_out.size(); ++i) named.emplace_back(cat("layer_out.", i), outputs.layer_out[i]);
  if (outputs.final_norm.defined()) named.emplace_back("final_norm", outputs.final_norm);
  if (outputs.mtp_logits.defined()) named.emplace_back("mtp_logits", outputs.mtp_logits);
  return named;
}

/// Rows of equal shape as one tensor [B, ...].
Tensor stacked(const std::vector<Named>& rows, size_t index) {
  const Tensor& first = rows[0][index].second;
  HeapAllocator heap;
  Tensor all = heap.make(first.dtype(), {rows.size(), first.dim(0), first.dim(1)});
  for (size_t b = 0; b < rows.size(); ++b)
    std::memcpy(all.bytes() + b * first.size_bytes(), rows[b][index].second.bytes(), first.size_bytes());
  return all;
}

Named name_tensors(const std::vector<ForcedOutputs>& outputs, bool same_length) {
  std::vector<Named> rows;
  rows.reserve(outputs.size());
  for (const ForcedOutputs& output : outputs) rows.push_back(tensors_of(output));
  Named named;
  for (size_t i = 0; i < rows[0].size(); ++i) {
    if (same_length) named.emplace_back(rows[0][i].first, stacked(rows, i));
    for (size_t b = 0; !same_length && b < rows.size(); ++b)
      if (i < rows[b].size()) named.emplace_back(cat(rows[b][i].first, ".", b), rows[b][i].second);
  }
  return named;
}

/// Everything is kept until it is written, once per row and once stacked.
void refuse_too_much(const Engine& engine, size_t tokens, bool layers) {
  const ModelConfig& c = engine.config();
  const double per_token = 2.0 * static_cast<double>(c.vocab_size) +
                           (layers ? static_cast<double>((c.num_hidden_layers + 1) * c.hidden_size) : 0);
  const double bytes = 2 * sizeof(float) * per_token * static_cast<double>(tokens),
               free = static_cast<double>(available_memory_bytes());
  if (bytes > free)
    throw ResourceError(cat("logits: ", bytes / 1e9, " GB are needed for the outputs of ", tokens, " tokens, ",
                            free / 1e9, " GB are free"));
}

int logits(const LogitsCommand& command, const Settings& settings) {
  const Sequences sequences = read_ids(command.ids);
  size_t longest = 0, total = 0;
  for (const auto& row : sequences) longest = std::max(longest, row.size()), total += row.size();
  EngineOptions options = engine_options(settings);
  options.sequences = sequences.size();
  if (options.ctx != 0 && longest > options.ctx)
    throw Error(cat(command.ids, ": expected rows of at most --ctx ", options.ctx, " ids, found one of ", longest));
  if (options.ctx == 0) options.ctx = longest;
  // Who asks for logits compares them: exact, whatever the file's own default, unless a profile was asked for.
  if (!options.profile) options.profile = Profile::kExact;
  const std::unique_ptr<Engine> engine = load_engine(command.model, options);
  print_err(first_line(*engine, 0).substr(0, first_line(*engine, 0).rfind(", seed")) + "\n");
  refuse_too_much(*engine, total, command.layers);
  const std::vector<ForcedOutputs> outputs =
      forced_forward(*engine, sequences, {.chunk = command.chunk, .layers = command.layers});
  const bool same_length =
      std::all_of(sequences.begin(), sequences.end(), [&](const auto& row) { return row.size() == longest; });
  const Named tensors = name_tensors(outputs, same_length);
  const EngineInfo& info = engine->info();
  write_safetensors(command.out, tensors,
                    {{"format", "fathom.logits"},
                     {"version", "1"},
                     {"profile", std::string(name(info.profile))},
                     {"kernels", info.kernels}});
  json::array names;
  for (const auto& [tensor_name, tensor] : tensors) names.push_back(json::value(tensor_name));
  if (command.json)
    print_out(to_json(json::object{{"out", command.out}, {"tensors", names}}) + "\n");
  else
    print_err(cat("wrote ", tensors.size(), tensors.size() == 1 ? " tensor" : " tensors", " for ", total, " tokens to ",
                  command.out, "\n"));
  return 0;
}

}  // namespace

void add_logits(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("logits", "The model's logits for given tokens, as safetensors.");
  const auto options = std::make_shared<LogitsCommand>();
  command->add_option("MODEL", options->model, "GGUF file, Hugging Face folder, or OWNER/NAME")->required();
  command->add_option("--ids", options->ids, "JSON: a list of lists of ids")->required();
  command->add_option("--out", options->out, "the file to write")->required();
  command->add_option("--chunk", options->chunk, "tokens of each sequence per forward (default 512): changes no bit")
      ->check(CLI::PositiveNumber);
  command->add_flag("--layers", options->layers, "also layer_out.N, final_norm and mtp_logits");
  command->add_flag("--json", options->json, "print the names of the tensors");
  add_engine_flags(*command, invocation);
  command->footer(
      "Example:  fathom logits MODEL --ids ids.json --out logits.safetensors\n"
      "The profile is exact unless --profile (or the configuration) says otherwise.\n"
      "Lists of equal length give tensors [B, T, ...] named logits, layer_out.N, final_norm, mtp_logits;\n"
      "otherwise there is one per list: logits.0, logits.1, ...");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) { return logits(*options, settings); };
  });
}

}  // namespace fathom

// fathom quantize: a GGUF file to one of other types.
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/long_work.h"
#include "cli/output.h"
#include "cli/sanitize.h"
#include "quant/quantize_file.h"

namespace fathom {
namespace {

struct QuantizeCommand {
  std::string in, out_or_type, type, importance, output_type, embedding_type;
  std::vector<std::string> by_name;
  bool pure = false, allow_requantize = false, dry_run = false, json = false;
};

MixtureOptions mixture_options(const QuantizeCommand& command) {
  MixtureOptions options;
  options.mixture = &find_mixture(command.type.empty() ? command.out_or_type : command.type);
  options.pure = command.pure;
  if (!command.output_type.empty()) options.output = find_written_type("--output-type", command.output_type);
  if (!command.embedding_type.empty())
    options.token_embedding = find_written_type("--token-embedding-type", command.embedding_type);
  for (const std::string& choice : command.by_name) {
    const size_t equals = choice.rfind('=');
    if (equals == std::string::npos || equals == 0)
      throw UsageError(cat("--tensor-type: expected NAME=TYPE, found '", choice, "'"));
    options.by_name.emplace_back(choice.substr(0, equals),
                                 find_written_type(cat("--tensor-type ", choice), choice.substr(equals + 1)));
  }
  return options;
}

/// OUT, or a file in the folder OUT, or beside the input, named as llama-quantize names it. A name that the person did
/// not write replaces no file.
std::filesystem::path output_path(const QuantizeCommand& command, const std::filesystem::path& in,
                                  const Mixture& mixture) {
  const std::filesystem::path given =
      command.type.empty() ? in.parent_path() : std::filesystem::path(command.out_or_type);
  if (!command.type.empty() && !std::filesystem::is_directory(given)) return given;
  const std::filesystem::path out = given / cat("ggml-model-", mixture.name, ".gguf");
  if (!command.dry_run && std::filesystem::exists(out))
    throw Error(
        cat(out.string(), ": expected no file of the name that was chosen for you, found one; give OUT to replace it"));
  return out;
}

std::string with_unit(uint64_t bytes) {
  char text[32];
  const auto b = static_cast<double>(bytes);
  std::snprintf(text, sizeof text, b < 1e9 ? "%.2f MB" : "%.2f GB", b < 1e9 ? b / 1e6 : b / 1e9);
  return text;
}

std::string bits(double per_weight) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", per_weight);
  return text;
}

json::object tensor_object(const PlannedTensor& t) {
  json::object out{{"name", t.target.name},
                   {"from", cat(t.source.range.info.dtype)},
                   {"to", cat(t.target.dtype)},
                   {"bytes", t.target.size_bytes},
                   {"importance", t.importance != nullptr}};
  if (t.wanted) out["fell_back_from"] = cat(*t.wanted);
  return out;
}

void report(const QuantizeCommand& command, const QuantizePlan& plan, const Mixture& mixture, const std::string& out) {
  for (const std::string& note : plan.notes) print_err(sanitized(cat("note: ", note)) + "\n");
  if (!command.json) {
    print_err(sanitized(cat(command.dry_run ? "would write " : "wrote ", out, ": ", plan.tensors.size(), " tensors as ",
                            mixture.name, ", ", with_unit(plan.bytes_before), " (", bits(plan.bits_before()),
                            " bits per weight) -> ", with_unit(plan.bytes_after), " (", bits(plan.bits_after()), ")")) +
              "\n");
    return;
  }
  json::array tensors;
  for (const PlannedTensor& t : plan.tensors) tensors.push_back(tensor_object(t));
  print_out(to_json(json::object{{"format", "fathom.quantize"},
                                 {"version", 1},
                                 {"out", out},
                                 {"type", mixture.name},
                                 {"dry_run", command.dry_run},
                                 {"bytes_before", plan.bytes_before},
                                 {"bytes_after", plan.bytes_after},
                                 {"bits_per_weight_before", plan.bits_before()},
                                 {"bits_per_weight", plan.bits_after()},
                                 {"notes", json::array(plan.notes.begin(), plan.notes.end())},
                                 {"tensors", tensors}}) +
            "\n");
}

int quantize_command(const QuantizeCommand& command, const Settings& settings) {
  QuantizeOptions options{.mixture = mixture_options(command),
                          .allow_requantize = command.allow_requantize,
                          .dry_run = command.dry_run,
                          .importance_file = command.importance,
                          .threads = settings.count("threads").value_or(physical_cores())};
  const std::filesystem::path in = find_model(command.in);
  if (std::filesystem::is_directory(in))
    throw Error(cat(command.in, ": expected a GGUF file, found a folder; fathom convert makes one of it"));
  ImportanceMatrix importance;
  if (!command.importance.empty()) {
    importance = load_imatrix(command.importance);
    options.importance = &importance;
  }
  const GgufFile file(in);
  const std::filesystem::path out = output_path(command, in, *options.mixture.mixture);
  const QuantizePlan plan = plan_quantize(file, options);
  if (!command.dry_run) {
    LongWork work(cat("quantising to ", options.mixture.mixture->name));
    quantize_file(file, plan, out, options, work.progress());
    work.clear();
  }
  report(command, plan, *options.mixture.mixture, out.string());
  return 0;
}

std::string type_names() {
  std::string names;
  for (const Mixture& m : mixtures()) names += cat(names.empty() ? "" : ", ", m.name);
  return names;
}

}  // namespace

void add_quantize(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("quantize", "A GGUF file in another type.");
  const auto options = std::make_shared<QuantizeCommand>();
  command->add_option("IN", options->in, "GGUF file (any part of a split one), or OWNER/NAME")->required();
  command->add_option("OUT", options->out_or_type, "the file to write, or its folder; may be left out");
  command->add_option("TYPE", options->type, cat("has to be given: ", type_names()));
  command->add_option("--imatrix", options->importance, "weigh errors by this importance matrix (fathom imatrix)");
  command
      ->add_option("--tensor-type", options->by_name,
                   "NAME=TYPE for tensors whose name has NAME in it, a regular expression; again and again, the first "
                   "that meets wins")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--output-type", options->output_type, "type of output.weight");
  command->add_option("--token-embedding-type", options->embedding_type, "type of token_embd.weight");
  command->add_flag("--pure", options->pure, "no mixture: TYPE's own blocks everywhere");
  command->add_flag("--allow-requantize", options->allow_requantize,
                    "take tensors that are quantised already (Q8_0 too): the losses add up");
  command->add_flag("--dry-run", options->dry_run, "say what would be made, and write nothing");
  command->add_flag("--json", options->json, "print what was made, tensor by tensor, as an object");
  add_setting_flags(*command, invocation, {"threads"});
  command->footer(
      "Example:  fathom quantize model-bf16.gguf model-q4.gguf Q4_K_M\n"
      "Without OUT the file is ggml-model-TYPE.gguf beside IN. Norms, routers and vectors stay as they are.");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) { return quantize_command(*options, settings); };
  });
}

}  // namespace fathom

// fathom convert: a model from one format to another, by what goes in and what comes out.
#include <CLI/CLI.hpp>
#include <cctype>
#include <charconv>

#include "base/checked.h"
#include "base/error.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/long_work.h"
#include "cli/output.h"
#include "cli/sanitize.h"
#include "quant/convert_safetensors.h"
#include "quant/convert_to_gguf.h"
#include "quant/convert_to_hf.h"
#include "quant/merge_gguf.h"

namespace fathom {
namespace {

struct ConvertCommand {
  std::string in, out, type = "auto", max_shard_size = "5GB", adapter;
  bool fp8_as_q8 = false, no_mtp = false, no_fathom_keys = false, json = false;
};

/// The type of that name in lower case; nullopt: auto. Throws UsageError listing `choices`.
std::optional<DType> chosen_type(const std::string& name,
                                 std::initializer_list<std::pair<const char*, DType>> choices) {
  if (name == "auto") return std::nullopt;
  std::string known = "auto";
  for (const auto& [choice, type] : choices) {
    if (name == choice) return type;
    known += cat(", ", choice);
  }
  throw UsageError(cat("--type: expected ", known, " for this conversion, found ", name));
}

/// What was made, on standard output for programs; notes are for people either way.
int report(const ConvertCommand& command, json::object made, const std::vector<std::string>& notes) {
  if (command.json) {
    made["notes"] = json::array(notes.begin(), notes.end());
    print_out(to_json(made) + "\n");
    return 0;
  }
  for (const std::string& note : notes) print_err(sanitized(cat("note: ", note)) + "\n");
  const double bytes = made["bytes"].to_number<double>();
  char size[32];
  std::snprintf(size, sizeof size,
                bytes < 1e6   ? "%.3f MB"
                : bytes < 1e9 ? "%.1f MB"
                              : "%.2f GB",
                bytes < 1e9 ? bytes / 1e6 : bytes / 1e9);
  print_err(
      cat("wrote ", sanitized(command.out), ": ", made["tensors"].to_number<uint64_t>(), " tensors, ", size, "\n"));
  return 0;
}

int to_gguf(const ConvertCommand& command, const std::filesystem::path& folder, size_t threads) {
  ToGgufOptions options;
  options.types.type = chosen_type(
      command.type, {{"f32", DType::kF32}, {"f16", DType::kF16}, {"bf16", DType::kBF16}, {"q8_0", DType::kQ8_0}});
  options.types.fp8_as_q8 = command.fp8_as_q8;
  options.types.mtp = !command.no_mtp;
  options.fathom_keys = !command.no_fathom_keys;
  options.threads = threads;
  options.adapter = command.adapter;
  LongWork work("converting");
  const ToGgufResult result = convert_to_gguf(folder, command.out, options, work.progress());
  work.clear();
  return report(command,
                {{"format", "fathom.convert"},
                 {"version", 1},
                 {"out", command.out},
                 {"type", cat(result.type)},
                 {"tensors", result.tensors},
                 {"bytes", result.bytes}},
                result.notes);
}

/// "5GB", "500 MiB", "1000000": bytes. Throws UsageError.
uint64_t parse_size(const std::string& text) {
  constexpr std::pair<const char*, uint64_t> kUnits[] = {{"", 1},
                                                         {"B", 1},
                                                         {"KB", 1'000},
                                                         {"MB", 1'000'000},
                                                         {"GB", 1'000'000'000},
                                                         {"KIB", uint64_t{1} << 10},
                                                         {"MIB", uint64_t{1} << 20},
                                                         {"GIB", uint64_t{1} << 30}};
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit;
  for (const char* c = end; c != text.data() + text.size(); ++c)
    if (*c != ' ') unit += static_cast<char>(std::toupper(static_cast<unsigned char>(*c)));
  for (const auto& [name, bytes] : kUnits)
    if (const auto size = checked_mul(number, bytes); error == std::errc() && unit == name && size && *size != 0)
      return *size;
  throw UsageError(cat("--max-shard-size: expected a size such as 5GB, 500MB or 2GiB, found ", text));
}

int report_folder(const ConvertCommand& command, const FolderReport& made) {
  return report(command,
                {{"format", "fathom.convert"},
                 {"version", 1},
                 {"out", command.out},
                 {"tensors", made.tensors},
                 {"files", made.files},
                 {"bytes", made.bytes}},
                made.notes);
}

int to_folder(const ConvertCommand& command, const std::filesystem::path& gguf, size_t threads) {
  ToHfOptions options;
  options.type = chosen_type(command.type, {{"f32", DType::kF32}, {"f16", DType::kF16}, {"bf16", DType::kBF16}});
  options.folder = {
      .max_shard_bytes = parse_size(command.max_shard_size), .threads = threads, .adapter = command.adapter};
  LongWork work("converting");
  const FolderReport made = convert_to_hf(gguf, command.out, options, work.progress());
  work.clear();
  return report_folder(command, made);
}

int to_type(const ConvertCommand& command, const std::filesystem::path& folder, size_t threads) {
  const std::optional<DType> type = chosen_type(
      command.type, {{"f32", DType::kF32}, {"f16", DType::kF16}, {"bf16", DType::kBF16}, {"fp8", DType::kF8E4M3}});
  if (!type) throw UsageError("convert: from a folder to a folder needs --type f32, f16, bf16 or fp8");
  const FolderOptions options{
      .max_shard_bytes = parse_size(command.max_shard_size), .threads = threads, .adapter = command.adapter};
  LongWork work("converting");
  const FolderReport made = convert_folder_type(folder, command.out, *type, options, work.progress());
  work.clear();
  return report_folder(command, made);
}

/// GGUF to GGUF: only an adapter is merged, and types stay.
int merge_gguf(const ConvertCommand& command, const std::filesystem::path& gguf, size_t threads) {
  if (command.type != "auto")
    throw UsageError(
        "--type: expected auto where an adapter is merged into a GGUF file (then fathom quantize), found " +
        command.type);
  LongWork work("merging");
  const MergedGguf made = merge_into_gguf(gguf, command.out, command.adapter, threads, work.progress());
  work.clear();
  std::vector<std::string> notes;
  if (made.error.matrices) notes.push_back(made.error.text());
  return report(command,
                {{"format", "fathom.convert"},
                 {"version", 1},
                 {"out", command.out},
                 {"tensors", made.tensors},
                 {"bytes", made.bytes}},
                notes);
}

int convert(const ConvertCommand& command, const Settings& settings) {
  const std::filesystem::path in = find_model(command.in);
  const bool from_folder = std::filesystem::is_directory(in), gguf = command.out.ends_with(".gguf");
  const size_t threads = settings.count("threads").value_or(physical_cores());
  if (from_folder && gguf) return to_gguf(command, in, threads);
  if (gguf && !command.adapter.empty()) return merge_gguf(command, in, threads);
  if (gguf) throw UsageError("convert: from GGUF to GGUF is the work of fathom quantize");
  return from_folder ? to_type(command, in, threads) : to_folder(command, in, threads);
}

}  // namespace

void add_convert(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("convert", "A model from one format to another.");
  const auto options = std::make_shared<ConvertCommand>();
  command->add_option("IN", options->in, "Hugging Face folder, GGUF file, or OWNER/NAME")->required();
  command->add_option("OUT", options->out, "what to write: NAME.gguf, or a folder")->required();
  command->add_option(
      "--type", options->type,
      "of the matrices: auto (as stored; FP8 becomes BF16; quantised ones too, to a folder), f32, f16, bf16, q8_0 (to "
      "GGUF), fp8 (folder to folder, in blocks as DeepSeek-V3). From a folder to a folder it has to be given");
  command->add_flag("--fp8-as-q8", options->fp8_as_q8, "to GGUF: matrices that were FP8 become Q8_0");
  command->add_flag("--no-mtp", options->no_mtp, "to GGUF: leave the layers for multi-token prediction out");
  command->add_flag("--no-fathom-keys", options->no_fathom_keys,
                    "to GGUF: without the fathom.* keys that make the way back exact");
  command->add_option("--max-shard-size", options->max_shard_size, "to a folder: largest file of weights")
      ->capture_default_str();
  command->add_option("--adapter", options->adapter,
                      "folder of a LoRA adapter (peft's format), merged into the weights as W + scale B A; to GGUF and "
                      "FP8 the error of quantising them again is shown");
  command->add_flag("--json", options->json, "print what was made as an object");
  add_setting_flags(*command, invocation, {"threads"});
  command->footer(
      "Example:  fathom convert ./DeepSeek-R1-Distill-Qwen-1.5B r1-1.5b.gguf\n"
      "          fathom convert r1-1.5b.gguf ./r1-1.5b\n"
      "          fathom convert ./DeepSeek-V3 ./DeepSeek-V3-bf16 --type bf16\n"
      "          fathom convert smollm2.gguf smollm2-mine.gguf --adapter ./my-adapter");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) { return convert(*options, settings); };
  });
}

}  // namespace fathom

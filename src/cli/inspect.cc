// fathom inspect: what a model is, from its headers alone; and what two models differ in.
#include <CLI/CLI.hpp>
#include <set>

#include "base/work.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/inspect_diff.h"
#include "cli/inspect_hash.h"
#include "cli/inspect_print.h"
#include "cli/inspect_report.h"
#include "cli/output.h"
#include "cli/sanitize.h"
#include "formats/absent_file.h"
#include "hub/model_folder.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;

struct InspectCommand {
  std::string model;
  std::vector<std::string> diff;
  uint64_t batch = 1;
  bool json = false, hash = false, tensors = false;
  InspectView view;
};

/// As diff(1): 2 means that there was nothing to compare.
class DiffTrouble : public Error {
 public:
  using Error::Error;
  int exit_code() const override { return 2; }
};

/// Parts of one split GGUF model, the first of which may be missing.
bool all_of_one_model(const std::vector<fs::path>& files) {
  std::set<std::string> prefixes;
  for (const fs::path& file : files) {
    const std::optional<GgufSplitName> name = gguf_split_name(file.filename().string());
    prefixes.insert(name ? name->prefix : "");
  }
  return prefixes.size() == 1 && !prefixes.begin()->empty();
}

/// A path that exists is taken as it is, whatever lies there; so a folder with half of a model's files can be shown.
fs::path find_any(const std::string& model) {
  const fs::path path = model;
  std::error_code error;
  if (!model.empty() && fs::exists(path, error)) {
    const bool folder = fs::is_directory(path, error);
    if (!folder || fs::exists(path / "config.json", error)) return path;
    std::vector<fs::path> parts;
    for (const fs::directory_entry& entry : fs::directory_iterator(path, error)) {
      if (entry.path().extension() == ".safetensors" || is_unfinished(entry.path())) return path;
      if (entry.path().extension() == ".gguf") parts.push_back(entry.path());
    }
    if (all_of_one_model(parts)) return parts.front();
  } else if (fs::is_directory(path.parent_path(), error) && (path.is_absolute() || model.starts_with('.'))) {
    require_present(path, "the model");  // tells "missing" and "still downloading" apart
  }
  return find_model(model);
}

/// Parsers read the same from both forms; one with an invisible mark or control character in it is written in ASCII,
/// since it may go to a terminal.
std::string json_text(const json::object& out) {
  std::string text = to_json(out, {.indent = 2});
  if (sanitized(text) != text) text = to_json(out, {.indent = 2, .ensure_ascii = true});
  return text + "\n";
}

int inspect(const InspectCommand& options, const Settings& settings) {
  ModelHeader header = read_model_header(find_any(options.model));
  if (is_half_installed(header.kind == ModelHeader::Kind::kFolder ? header.path : header.path.parent_path()))
    header.problems.push_back("an update of this model by pull was broken off: files of two revisions may be mixed");
  json::object report = inspect_report(header, settings, options.batch);
  bool good = header.complete();
  if (options.hash) good = add_hashes(header, report) && good;
  if (options.tensors) report["tensor_table"] = tensor_table(header);
  print_out(options.json ? json_text(report) : inspect_text(report, options.view));
  return good ? 0 : 1;
}

int diff(const InspectCommand& options) {
  try {
    const ModelHeader a = read_model_header(find_any(options.diff[0])),
                      b = read_model_header(find_any(options.diff[1]));
    const json::object out = inspect_diff(a, b, options.hash);
    print_out(options.json ? json_text(out) : diff_text(out));
    return out.at("same").as_bool() ? 0 : 1;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& e) {
    throw DiffTrouble(e.what());
  }
}

int run_inspect(const InspectCommand& options, const Settings& settings) {
  if (options.model.empty() == options.diff.empty())
    throw UsageError("inspect: expected MODEL or --diff A B, found " +
                     std::string(options.diff.empty() ? "neither" : "both"));
  return options.diff.empty() ? inspect(options, settings) : diff(options);
}

}  // namespace

void add_inspect(CLI::App& app, Invocation& invocation) {
  CLI::App* command =
      app.add_subcommand("inspect", "What a model is, from its headers alone; what two models differ in.");
  const auto options = std::make_shared<InspectCommand>();
  command->add_option("MODEL", options->model, "GGUF file, .safetensors file, model folder, or OWNER/NAME");
  command->add_option("--diff", options->diff, "compare two models: keys, and tensors by name, type and shape")
      ->expected(2)
      ->type_name("A B");
  command->add_flag("--tensors", options->tensors, "a table of all tensors");
  command->add_flag("--keys", options->view.keys, "the metadata: GGUF's keys, or those of safetensors headers");
  command->add_flag("--render", options->view.whole_sample, "the chat template's sample in full");
  command->add_flag("--hash,--data", options->hash,
                    "read all data: sha256 of every file and the weights id; with --diff: compare the tensors' bytes");
  command->add_option("--batch", options->batch, "contexts at once, for the memory (default: 1)")
      ->check(CLI::Range(uint64_t{1}, uint64_t{1} << 20))
      ->type_name("N");
  command->add_flag("--json", options->json, "print an object: the same facts, and GGUF's metadata");
  add_setting_flags(*command, invocation, {"ctx", "profile", "cache-type", "kernels", "log"});
  command->footer(
      "Example:  fathom inspect model.gguf --ctx 32768 --batch 4\n"
      "          fathom inspect --diff model.gguf model-Q4_K_M.gguf\n"
      "Only headers are read, whatever the size of the files, unless --hash asks for more. Parameters are the model's\n"
      "own: MTP modules and FP8 scales are counted apart. Active are those that one token passes through: all but the\n"
      "routed experts that are not chosen.\n"
      "Exit code: 0 the model is complete, 1 it is not (files are missing, cut off, broken, or differ from what pull\n"
      "recorded): what is there is shown all the same. With --diff, as diff(1): 0 no difference, 1 some, 2 trouble.");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) { return run_inspect(*options, settings); };
  });
}

}  // namespace fathom

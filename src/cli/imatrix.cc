// fathom imatrix: which columns of the weights matter on a text, for quantisers.
#include "engine/imatrix.h"

#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/engine_loader.h"
#include "cli/long_work.h"
#include "cli/output.h"
#include "cli/sanitize.h"

namespace fathom {
namespace {

struct ImatrixCommand {
  std::string model, text, out = "imatrix.gguf";
  ImatrixOptions options;
  bool json = false;
};

std::vector<TokenId> tokens_of(const Engine& engine, const std::string& file) {
  std::string text;
  with_input(file, [&](std::istream& in) { return text = read_all(in, file), 0; });
  return engine.tokenizer().encode(text, {.parse_special = false, .add_special = true});
}

/// Runs the chunks. False: interrupted, but at least one was done.
bool collect(ImatrixRun& run) {
  LongWork work("collecting importances");
  try {
    run.run(work.progress());
  } catch (const Interrupted&) {
    work.clear();
    if (run.chunks_done() == 0) throw;
    return false;
  }
  work.clear();
  return true;
}

size_t experts_without_data(const ImportanceMatrix& matrix) {
  size_t n = 0;
  for (const auto& [name, entry] : matrix.entries) mean_squares(entry, n);
  return n;
}

int imatrix(const ImatrixCommand& command, const Settings& settings) {
  EngineOptions options = engine_options(settings);
  ImatrixOptions chosen = command.options;
  chosen.ctx = settings.count("ctx").value_or(chosen.ctx);
  options.ctx = chosen.ctx;
  const std::unique_ptr<Engine> engine = load_engine(command.model, options);
  ImatrixRun run(*engine, tokens_of(*engine, command.text), chosen);
  print_err(sanitized(cat(first_line(*engine, 0).substr(0, first_line(*engine, 0).rfind(", seed")), "; ", run.chunks(),
                          " chunks of ", chosen.ctx, " tokens, ", run.tokens_left_out(), " tokens left out")) +
            "\n");
  const bool complete = collect(run);
  ImportanceMatrix matrix = run.matrix();
  matrix.datasets = {command.text};
  save_imatrix(command.out, matrix);
  if (!complete) print_err(cat("note: interrupted after ", run.chunks_done(), " of ", run.chunks(), " chunks\n"));
  if (const size_t n = experts_without_data(matrix))
    print_err(cat("note: ", n, " expert matrices saw no token; quantisers will weigh their columns alike\n"));
  if (command.json)
    print_out(to_json(json::object{{"format", "fathom.imatrix"},
                                   {"version", 1},
                                   {"out", command.out},
                                   {"entries", matrix.entries.size()},
                                   {"chunks", matrix.chunk_count},
                                   {"chunk_size", matrix.chunk_size},
                                   {"complete", complete}}) +
              "\n");
  else
    print_err(sanitized(cat("wrote ", command.out, ": ", matrix.entries.size(), " tensors, ", matrix.chunk_count,
                            " chunks of ", matrix.chunk_size, " tokens")) +
              "\n");
  return complete ? 0 : Interrupted().exit_code();
}

}  // namespace

void add_imatrix(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("imatrix", "An importance matrix from a text, for fathom quantize.");
  const auto options = std::make_shared<ImatrixCommand>();
  command->add_option("MODEL", options->model, "GGUF file, Hugging Face folder, or OWNER/NAME")->required();
  command->add_option("TEXTFILE", options->text, "the text, like what the model will read and write; -: standard input")
      ->required();
  command->add_option("-o,--out", options->out, "the file to write (default imatrix.gguf)");
  command->add_option("--chunks", options->options.chunks, "at most so many (default: the whole text)")
      ->check(CLI::PositiveNumber);
  command->add_flag("--process-output", options->options.output, "output.weight too");
  command->add_flag("--json", options->json, "print what was made as an object");
  add_engine_flags(*command, invocation);
  command->get_option("--ctx")->description("tokens of a chunk (default: 512)");
  command->footer(
      "Example:  fathom imatrix MODEL.gguf text.txt -o imatrix.gguf --ctx 512\n"
      "The text is cut into chunks, each a text of its own; the file is llama.cpp's GGUF form. Ctrl-C\n"
      "saves what the chunks so far gave, and exits with 130.");
  command->callback([&invocation, options] {
    invocation.run = [options](const Settings& settings) { return imatrix(*options, settings); };
  });
}

}  // namespace fathom

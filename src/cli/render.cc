// fathom render: the exact prompt of a conversation, by a model's template or a template file.
#include <CLI/CLI.hpp>
#include <ctime>
#include <iomanip>
#include <sstream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/output.h"
#include "cli/tokenizer_source.h"
#include "text/chat_template.h"

namespace fathom {
namespace {

struct RenderCommand {
  std::string model, template_file, file, now;
  bool jsonl = false, json = false;
};

struct Source {
  std::string text, bos_token, eos_token;
};

Source find_template(const RenderCommand& options) {
  Source source;
  if (!options.model.empty()) {
    TokenizerSpec spec = load_tokenizer_spec(find_model(options.model));
    source.text = std::move(spec.chat_template);
    if (spec.bos) source.bos_token = spec.tokens.at(static_cast<size_t>(*spec.bos));
    if (spec.eos) source.eos_token = spec.tokens.at(static_cast<size_t>(*spec.eos));
  }
  if (!options.template_file.empty()) source.text = read_text_file(options.template_file, 1 << 22);
  if (options.model.empty() && options.template_file.empty())
    throw UsageError("render: expected MODEL or --template FILE, found neither");
  if (source.text.empty())
    throw Error(cat(options.model, options.template_file, ": expected a chat template, found none"));
  return source;
}

/// What strftime_now shall read: "2025-01-20 09:30:00"; null for an empty text, the local time.
RenderClock clock_at(const std::string& now) {
  if (now.empty()) return nullptr;
  std::tm time{};
  std::istringstream in(now);
  in >> std::get_time(&time, "%Y-%m-%d %H:%M:%S");
  if (in.fail()) throw UsageError(cat("--now: expected YYYY-MM-DD HH:MM:SS, found '", now, "'"));
  std::mktime(&time);  // fills in the day of the week and of the year
  return [time] { return time; };
}

/// The line's keys are the template's variables, as transformers' apply_chat_template takes them.
json::object render_line(const ChatTemplate& chat_template, const Source& source, const RenderClock& clock,
                         const json::value& line) {
  const JsonObject request(line, "render");
  request.array("messages");
  json::object variables = request.raw();
  if (!variables.contains("tools")) variables["tools"] = nullptr;
  if (!variables.contains("add_generation_prompt")) variables["add_generation_prompt"] = true;
  if (!variables.contains("bos_token")) variables["bos_token"] = source.bos_token;
  if (!variables.contains("eos_token")) variables["eos_token"] = source.eos_token;
  return {{"prompt", joined(chat_template.render(variables, {}, clock))}};
}

int render(const RenderCommand& options) {
  const Source source = find_template(options);
  const ChatTemplate chat_template(source.text);
  const RenderClock clock = clock_at(options.now);
  return with_input(options.file, [&](std::istream& in) {
    if (options.jsonl)
      return answer_json_lines(
          in, [&](const json::value& line) { return render_line(chat_template, source, clock, line); });
    const json::object out =
        render_line(chat_template, source, clock, parse_json(read_all(in, "the conversation"), "the conversation"));
    print_out(options.json ? to_json(out) + "\n" : std::string(out.at("prompt").as_string()));
    return 0;
  });
}

}  // namespace

void add_render(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("render", "The exact prompt of a conversation.");
  const auto options = std::make_shared<RenderCommand>();
  command->add_option("MODEL", options->model, "GGUF file, folder with tokenizer.json, or OWNER/NAME");
  command->add_option("--template", options->template_file,
                      "a Jinja file instead of the model's template; needs no MODEL");
  command->add_option("--file", options->file, "JSON of the conversation; without it: standard input");
  command->add_option("--now", options->now,
                      "the time that the template sees, YYYY-MM-DD HH:MM:SS, instead of the clock's");
  command->add_flag("--jsonl", options->jsonl, "lines of {messages, tools, add_generation_prompt, ...} -> {prompt}");
  command->add_flag("--json", options->json, "print {prompt} instead of the bare text");
  command->footer(
      "Example:  echo '{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}' | fathom render MODEL\n"
      "All keys become the template's variables; add_generation_prompt is true where it is not given.");
  command->callback(
      [&invocation, options] { invocation.run = [options](const Settings&) { return render(*options); }; });
}

}  // namespace fathom

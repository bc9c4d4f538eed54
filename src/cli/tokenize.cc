// fathom tokenize: text to ids and back, as the model's tokenizer does it.
#include <CLI/CLI.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/folders.h"
#include "cli/output.h"
#include "cli/tokenizer_source.h"
#include "text/tokenizer.h"

namespace fathom {
namespace {

struct TokenizeOptions {
  std::string model, text, decode, file;
  bool parse_special = false, add_special = false, skip_special = false, jsonl = false, json = false, pieces = false;
};

json::array to_array(const std::vector<TokenId>& ids) { return json::array(ids.begin(), ids.end()); }

/// {text} -> {ids}, {ids} -> {text}; the flags are the defaults of the fields of the same name.
json::object answer_line(const Tokenizer& tokenizer, const TokenizeOptions& options, const json::value& line) {
  const JsonObject request(line, "tokenize");
  if (const json::value* ids = request.find("ids")) {
    const bool skip =
        request.boolean_or("skip_special_tokens", request.boolean_or("skip_special", options.skip_special));
    if (!request.has("text")) return {{"text", tokenizer.decode(ids_from_json(*ids, "tokenize: ids"), skip)}};
    throw Error("tokenize: expected text or ids, found both");
  }
  const bool parse = request.boolean_or("parse_special", options.parse_special);
  const bool add = request.boolean_or("add_special", options.add_special);
  return {{"ids", to_array(tokenizer.encode(request.string("text"), {.parse_special = parse, .add_special = add}))}};
}

std::vector<TokenId> parse_ids(std::string text) {
  if (text.find_first_of("[]") == std::string::npos) {  // "1 2 3" and "1,2,3" too
    std::string list;
    for (const char c : text) list += c == ',' || std::isspace(static_cast<unsigned char>(c)) ? ' ' : c;
    text.clear();
    std::istringstream words(list);
    for (std::string word; words >> word;) text += (text.empty() ? "" : ",") + word;
    text = "[" + text + "]";
  }
  return ids_from_json(parse_json(text, "--decode"), "--decode");
}

int tokenize(const TokenizeOptions& options) {
  const Tokenizer tokenizer(load_tokenizer_spec(find_model(options.model)));
  if (options.jsonl)
    return with_input(options.file, [&](std::istream& in) {
      return answer_json_lines(in, [&](const json::value& line) { return answer_line(tokenizer, options, line); });
    });
  if (!options.decode.empty()) {
    const std::string text = tokenizer.decode(parse_ids(options.decode), options.skip_special);
    print_out(options.json ? to_json(json::object{{"text", text}}) + "\n" : text + "\n");
    return 0;
  }
  std::string text = options.text;
  if (text.empty())
    with_input(options.file, [&](std::istream& in) { return text = read_all(in, "standard input"), 0; });
  const std::vector<TokenId> ids =
      tokenizer.encode(text, {.parse_special = options.parse_special, .add_special = options.add_special});
  if (!options.pieces) {
    print_out(options.json ? to_json(json::object{{"ids", to_array(ids)}}) + "\n" : to_json(to_array(ids)) + "\n");
    return 0;
  }
  std::string out;
  for (const TokenId id : ids) out += cat(id, "\t", to_json(json::value(tokenizer.decode({&id, 1}))), "\n");
  print_out(out);
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Invocation& invocation) {
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids and back.");
  const auto options = std::make_shared<TokenizeOptions>();
  command->add_option("MODEL", options->model, "GGUF file, folder with tokenizer.json, or OWNER/NAME")->required();
  command->add_option("TEXT", options->text, "the text; without it: standard input, as it is");
  command->add_option("--decode", options->decode, "ids to turn into text: \"[1, 2]\" or \"1 2\"");
  command->add_flag("--parse-special", options->parse_special,
                    "<|im_start|> and the like in the text become control tokens");
  command->add_flag("--add-special", options->add_special, "BOS and EOS where the tokenizer asks for them");
  command->add_flag("--skip-special", options->skip_special, "leave control tokens out when decoding");
  command->add_flag("--pieces", options->pieces, "one line per token: id and text");
  command->add_flag("--jsonl", options->jsonl, "lines of {text} -> {ids} and {ids} -> {text}");
  command->add_option("--file", options->file, "read this instead of standard input");
  command->add_flag("--json", options->json, "print an object");
  command->footer("Example:  fathom tokenize MODEL \"Hello, world!\"");
  command->callback(
      [&invocation, options] { invocation.run = [options](const Settings&) { return tokenize(*options); }; });
}

}  // namespace fathom

// What the model sees: texts as token ids and back, and the exact prompt of a conversation; llama-server's /tokenize,
// /detokenize and /apply-template, which vLLM has too.
#include "server/api/api.h"
#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/api/openai_request.h"
#include "text/utf8.h"

namespace fathom {
namespace {

void send_json(Responder& responder, const json::value& value, HttpHeaders headers) {
  responder.send(200, "application/json", to_json(value), std::move(headers));
}

/// {id, piece}; a piece that is no text is a list of its bytes, as llama-server has it.
json::value token_piece(const Tokenizer& tokenizer, TokenId id) {
  const std::string_view piece = tokenizer.token_view(id);
  if (utf8_lossy(piece) == piece) return json::object{{"id", id}, {"piece", piece}};
  json::array bytes;
  for (const char c : piece) bytes.push_back(static_cast<unsigned char>(c));
  return json::object{{"id", id}, {"piece", std::move(bytes)}};
}

}  // namespace

void Api::tokenize(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const json::value body = parse_json(request.body, "the body");
  std::optional<bool> thinking;
  std::vector<TokenId> ids;
  std::vector<std::string> warnings;
  std::shared_ptr<LoadedModel> model;
  bool pieces = false;
  if (body.is_object() && body.get_object().contains("messages")) {
    GenerateRequest r = read_chat_request(body, {});
    ChatPrompt& chat = std::get<ChatPrompt>(r.prompt);
    model = model_of(r.model, chat.thinking);
    ids = model->engine().tokenizer().encode(prompt_text(model->engine(), r));
    warnings = std::move(r.warnings);
  } else {
    Fields f(body);
    model = model_of(f.string("model").value_or(""), thinking);
    pieces = f.boolean("with_pieces").value_or(false);
    std::optional<std::string> text = f.string("content");
    if (!text) text = f.string("prompt");
    if (!text) throw wrong_field("content", "content: expected a string, found none");
    const bool special = f.boolean("add_special").value_or(false) || f.boolean("add_special_tokens").value_or(false);
    ids = model->engine().tokenizer().encode(
        *text, {.parse_special = f.boolean("parse_special").value_or(false), .add_special = special});
    f.name_left_over(warnings);
  }
  json::array list;
  for (const TokenId id : ids) list.push_back(pieces ? token_piece(model->engine().tokenizer(), id) : json::value(id));
  send_json(*responder,
            json::object{{"tokens", list}, {"count", ids.size()}, {"max_model_len", model->engine().info().ctx}},
            warning_headers(warnings));
}

void Api::detokenize(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const json::value body = parse_json(request.body, "the body");
  Fields f(body);
  std::optional<bool> thinking;
  const std::shared_ptr<LoadedModel> model = model_of(f.string("model").value_or(""), thinking);
  const json::array* tokens = f.array("tokens");
  if (!tokens) throw wrong_field("tokens", "tokens: expected a list of token ids, found none");
  std::vector<TokenId> ids;
  for (const json::value& token : *tokens) {
    if (!token.is_int64() || token.get_int64() < 0 || token.get_int64() > INT32_MAX)
      throw wrong_field("tokens", "tokens: expected token ids");
    ids.push_back(static_cast<TokenId>(token.get_int64()));
  }
  const std::string text = model->engine().tokenizer().decode(ids);
  std::vector<std::string> warnings;
  f.name_left_over(warnings);
  send_json(*responder, json::object{{"content", text}, {"prompt", text}}, warning_headers(warnings));
}

void Api::apply_template(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  GenerateRequest r = read_chat_request(parse_json(request.body, "the body"), {});
  ChatPrompt& chat = std::get<ChatPrompt>(r.prompt);
  const std::shared_ptr<LoadedModel> model = model_of(r.model, chat.thinking);
  send_json(*responder, json::object{{"prompt", joined(prompt_text(model->engine(), r))}}, warning_headers(r.warnings));
}

}  // namespace fathom

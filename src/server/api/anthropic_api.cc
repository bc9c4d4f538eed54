// Anthropic's endpoints; anthropic_request.h says what they take.
#include "base/json.h"
#include "server/api/anthropic_reply.h"
#include "server/api/anthropic_request.h"
#include "server/api/api.h"

namespace fathom {

bool is_anthropic(const HttpServerRequest& request) {
  return request.path.starts_with("/anthropic/") || request.path.ends_with("/messages") ||
         request.path.ends_with("/messages/count_tokens") || request.header("anthropic-version");
}

void Api::anthropic_messages(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  run({read_anthropic_request(parse_json(request.body, "the body"), options_.signature)}, responder,
      [&](ReplyContext context) { return make_anthropic_reply(std::move(context), request.id, options_.signature); });
}

void Api::anthropic_count_tokens(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  GenerateRequest r = read_anthropic_count(parse_json(request.body, "the body"), options_.signature);
  ChatPrompt& chat = std::get<ChatPrompt>(r.prompt);
  const std::shared_ptr<LoadedModel> model = model_of(r.model, chat.thinking);
  const size_t count = model->engine().tokenizer().encode(prompt_text(model->engine(), r)).size();
  responder->send(200, "application/json", to_json(json::object{{"input_tokens", count}}),
                  {{"request-id", request.id}});
}

void Api::anthropic_models(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  json::array list;
  const auto add = [&](const std::string& name, const std::string& root) {
    json::object entry{{"type", "model"},
                       {"id", name},
                       {"display_name", name},
                       {"created_at", "1970-01-01T00:00:00Z"},  // their way to say that it is not known
                       {"lifecycle", "active"}};
    if (const auto model = host_.loaded(root)) entry["max_input_tokens"] = model->engine().info().ctx;
    list.push_back(std::move(entry));
  };
  for (const auto& m : host_.models()) add(m->name, m->name);
  for (const ModelAlias& a : options_.aliases) add(a.name, a.model);
  const HttpHeaders headers{{"request-id", request.id}};
  const size_t at = request.path.find("/models") + std::string_view("/models").size();
  if (at >= request.path.size()) {
    const json::value first = list.front().at("id"), last = list.back().at("id");
    const json::object page{{"data", std::move(list)}, {"has_more", false}, {"first_id", first}, {"last_id", last}};
    return responder->send(200, "application/json", to_json(page), headers);
  }
  const std::string_view name = std::string_view(request.path).substr(at + 1);
  for (const json::value& entry : list)
    if (std::string_view(entry.at("id").as_string()) == name)
      return responder->send(200, "application/json", to_json(entry), headers);
  throw not_found(cat("no such model: '", name.substr(0, 200), "'"), "model_not_found");
}

}  // namespace fathom

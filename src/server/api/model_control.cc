// Which models are in memory, at the wish of a client: llama-server's /models/load and /models/unload, and
// /models/reload for files that have changed.
#include "server/api/api.h"
#include "server/api/error.h"
#include "server/api/fields.h"

namespace fathom {
namespace {

std::string wanted_model(const HttpServerRequest& request) {
  const json::value body = parse_json(request.body, "the body");
  Fields f(body);
  if (const auto name = f.string("model"); name && !name->empty()) return *name;
  throw wrong_field("model", "model: expected the name of a model, found none");
}

void send_loaded(Responder& responder, const LoadedModel& model) {
  const Engine& engine = model.engine();
  const uint64_t pages = engine.pool_bytes() / std::max<uint64_t>(engine.kv_layout().page_bytes, 1);
  responder.send(200, "application/json",
                 to_json(json::object{{"success", true},
                                      {"model", model.name()},
                                      {"max_model_len", engine.info().ctx},
                                      {"room_for_tokens", pages * kPagePositions}}));
}

}  // namespace

void Api::load_model(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  std::optional<bool> thinking;
  send_loaded(*responder, *model_of(wanted_model(request), thinking));
}

void Api::unload_model(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  std::optional<bool> thinking;
  const std::string name = own_name(wanted_model(request), thinking);
  if (!host_.unload(name)) throw ApiError(400, cat("model: expected one in memory, found '", name, "', which is not"));
  responder->send(200, "application/json", to_json(json::object{{"success", true}, {"model", name}}));
}

void Api::reload_model(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  std::optional<bool> thinking;
  if (const auto model = host_.reload(own_name(wanted_model(request), thinking)))
    return send_loaded(*responder, *model);
  ApiError busy(409, "another model is being loaded", "invalid_request_error", std::nullopt, "model_loading");
  busy.retry_after_s = 1;
  throw busy;
}

}  // namespace fathom

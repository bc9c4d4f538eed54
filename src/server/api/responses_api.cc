// /v1/responses: from a request to its answer, and what becomes of answers that are kept. DeepSeek's /responses is the
// same without memory.
#include <algorithm>

#include "server/api/api.h"
#include "server/api/error.h"
#include "server/api/paging.h"
#include "server/api/responses_reply.h"
#include "server/api/responses_request.h"

namespace fathom {
namespace {

ApiError no_response(const std::string& id, const char* code) {
  return not_found(cat("Response with id '", id.substr(0, 100), "' not found."), code);
}

}  // namespace

void Api::responses(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const json::value body = parse_json(request.body, "the body");
  EarlierItems earlier;
  earlier.conversation = [this](const std::string& id) {
    if (responses_->is_open(id))
      throw wrong_field("previous_response_id", "previous_response_id: that response is still being made");
    std::optional<json::array> items = responses_->conversation(id);
    if (items) return std::move(*items);
    ApiError error = no_response(id, "previous_response_not_found");
    error.status = 400, error.param = "previous_response_id";
    throw error;
  };
  // A reference of some bytes stands for as much as a response has, and each is looked for.
  uint64_t looked_through = 0;
  earlier.item = [&](const std::string& id) -> json::value {
    const auto found = responses_->find(response_id(request_id_of(id)));
    looked_through += found ? found->bytes : 0;
    if (looked_through > ResponseStore::kMostBytes)
      throw wrong_field("input", cat("input: expected references to responses of at most ", ResponseStore::kMostBytes,
                                     " bytes together; send the items, or previous_response_id"));
    const json::value* output = found ? found->response.if_contains("output") : nullptr;
    if (output && output->is_array())
      for (const json::value& item : output->get_array())
        if (item.at("id").as_string() == id) return item;
    throw not_found(cat("Item with id '", id.substr(0, 100), "' not found."), "item_not_found");
  };
  ResponsesRequest read = read_responses_request(body, earlier, request.path.find("/v1/") == std::string::npos);
  std::vector<GenerateRequest> generate{read.generate};
  read.generate.prompt = std::string();  // the reply has no use for it
  try {
    run(std::move(generate), responder,
        [&](ReplyContext context) { return make_responses_reply(std::move(context), std::move(read), responses_); });
  } catch (const ApiError& e) {
    throw in_responses_words(e);
  }
}

/// Throws ApiError. What a server left behind that ended too early is told as failed.
StoredResponse Api::stored_response(const std::string& id) {
  const bool open = responses_->is_open(id);  // before the look at what is stored: it may end in between
  std::optional<StoredResponse> found = responses_->find(id);
  if (!found) throw no_response(id, "response_not_found");
  if (found->response.at("status") == "in_progress" && !open) {
    found->response["status"] = "failed";
    found->response["error"] =
        json::object{{"code", "server_error"}, {"message", "the server ended before the answer was complete"}};
  }
  return std::move(*found);
}

void Api::one_response(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const std::string id = path_id(request);
  if (query_value(request.query, "stream") == "true") {
    const std::shared_ptr<KeptAnswer> kept = running_.kept(request_id_of(id));
    if (!kept || kept->has_gap() || kept->whole())
      throw not_found("the events of this response are not kept", "response_not_found");
    const std::optional<size_t> after = count_in(request.query, "starting_after");
    return kept->attach(responder, after ? std::max(*after, *after + 1) : 0);  // the last number has no next
  }
  responder->send(200, "application/json", to_json(stored_response(id).response));
}

void Api::delete_response(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const std::string id = path_id(request);
  if (responses_->is_open(id))
    throw ApiError(409, "the response is being made: cancel it first", "invalid_request_error", "response_id");
  if (!responses_->remove(id)) throw no_response(id, "response_not_found");
  running_.forget(request_id_of(id));  // its events
  responder->send(200, "application/json",
                  to_json(json::object{{"id", id}, {"object", "response"}, {"deleted", true}}));
}

void Api::response_input(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  json::array items = std::move(stored_response(path_id(request)).input);
  std::reverse(items.begin(), items.end());
  responder->send(200, "application/json", to_json(list_page(std::move(items), request.query, 20, 100)));
}

void Api::cancel_response(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const std::string id = path_id(request);
  const std::shared_ptr<RunningRequest> running = running_.find(request_id_of(id));
  StoredResponse stored = stored_response(id);
  if (stored.response.at("background") != true)
    throw ApiError(400, "only a response that is made in the background can be cancelled");
  if (running && stored.response.at("status") == "in_progress") {
    running->cancel();
    stored.response["status"] = "cancelled";
  }
  responder->send(200, "application/json", to_json(stored.response));
}

}  // namespace fathom

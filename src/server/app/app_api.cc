#include "server/app/app_api.h"

#include <charconv>

#include "server/api/error.h"
#include "server/app/app_access.h"
#include "server/app/app_request.h"
#include "server/keys/key_access.h"

namespace fathom {
namespace {

constexpr const char* kFiles = "text";  // the one path whose body is no JSON

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> out;
  for (size_t slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/')) {
    out.push_back(path.substr(0, slash));
    path.remove_prefix(slash + 1);
  }
  out.push_back(path);
  return out;
}

}  // namespace

AppApi::AppApi(ModelHost& host, Options options, const GenerateDefaults& defaults, RunningRequests& requests,
               AppAnswers::FindModel find_model)
    : host_(host),
      find_model_(std::move(find_model)),
      options_(std::move(options)),
      store_(options_.database),
      answers_(host, store_, feed_, defaults, requests, find_model_) {
  if (options_.keys) options_.keys->on_ended([this] { feed_.restart(); });
  host_.watch([this] { feed_.tell("models", ""); });
}

AppApi::~AppApi() {
  ends_ = true;
  library_.reset();
  host_.watch(nullptr);
}

const std::vector<AppApi::Route>& AppApi::routes() {
  static const std::vector<Route> kRoutes = {
      {"POST", "login", &AppApi::login},
      {"POST", "logout", &AppApi::logout},
      {"GET", "state", &AppApi::state},
      {"GET", "events", &AppApi::events},
      {"GET", "chats", &AppApi::list_chats},
      {"POST", "chats", &AppApi::create_chat},
      {"GET", "chats/*", &AppApi::get_chat},
      {"PATCH", "chats/*", &AppApi::change_chat},
      {"DELETE", "chats/*", &AppApi::delete_chat},
      {"POST", "chats/*/restore", &AppApi::restore_chat},
      {"POST", "chats/*/messages", &AppApi::add_message},
      {"POST", "chats/*/answers", &AppApi::add_answer},
      {"GET", "messages/*/stream", &AppApi::watch_message},
      {"POST", "messages/*/stop", &AppApi::stop_message},
      {"POST", "messages/*/answer-now", &AppApi::hurry_message},
      {"DELETE", "messages/*", &AppApi::delete_message},
      {"GET", "messages/*/prompt", &AppApi::message_prompt},
      {"GET", "messages/*/tokens", &AppApi::message_tokens},
      {"POST", "count", &AppApi::count_tokens},
      {"POST", kFiles, &AppApi::file_as_text},
      {"GET", "chats/*/export", &AppApi::export_chat},
      {"GET", "export", &AppApi::export_all},
      {"POST", "import", &AppApi::import_chats},
      {"GET", "models/recommended", &AppApi::recommended},
      {"GET", "models/pulls", &AppApi::list_pulls},
      {"POST", "models/pulls", &AppApi::begin_pull},
      {"DELETE", "models/pulls/*", &AppApi::end_pull},
      {"DELETE", "models", &AppApi::remove_model},
      {"GET", "search", &AppApi::search},
      {"GET", "folders", &AppApi::list_folders},
      {"POST", "folders", &AppApi::add_folder},
      {"PATCH", "folders/*", &AppApi::change_folder},
      {"DELETE", "folders/*", &AppApi::delete_folder},
      {"GET", "templates", &AppApi::list_templates},
      {"POST", "templates", &AppApi::add_template},
      {"PATCH", "templates/*", &AppApi::change_template},
      {"DELETE", "templates/*", &AppApi::delete_template},
      {"GET", "preferences", &AppApi::preferences},
      {"PATCH", "preferences", &AppApi::change_preferences},
  };
  return kRoutes;
}

void AppApi::handle(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  try {
    const bool file = std::string_view(request.path).substr(kPrefix.size()) == kFiles;
    check_app_access(request, options_.host_names, /*json_only=*/!file);
    Call call{request, responder, {}};
    if (const Answer answer = dispatch(call))
      responder->send(call.status, "application/json", to_json(*answer), std::move(call.headers));
  } catch (...) {
    send_error(*responder, api_error(std::current_exception()));
  }
}

AppApi::Answer AppApi::dispatch(Call& call) {
  const std::string& method = call.request.method;
  const std::vector<std::string_view> asked = segments(std::string_view(call.request.path).substr(kPrefix.size()));
  bool known = false;
  for (const Route& route : routes()) {
    const std::vector<std::string_view> path = segments(route.path);
    std::vector<std::string> ids;
    bool same = path.size() == asked.size();
    for (size_t i = 0; same && i < path.size(); ++i) {
      if (path[i] == "*")
        ids.emplace_back(asked[i]);
      else
        same = path[i] == asked[i];
    }
    if (!same) continue;
    known = true;
    if (method != route.method && !(method == "HEAD" && route.method == std::string_view("GET"))) continue;
    call.ids = std::move(ids);
    return (this->*route.call)(call);
  }
  if (known) throw ApiError(405, cat(method, " is not for ", call.request.path));
  throw not_found(cat("no such path: ", method, " ", call.request.path), "unknown_path");
}

json::value AppApi::Call::body() const {
  return request.body.empty() ? json::value(json::object()) : parse_json(request.body, "the body");
}

std::optional<std::string> AppApi::Call::query(std::string_view key) const { return query_value(request.query, key); }

bool AppApi::Call::flag(std::string_view key) const { return number(key, 0, 0, 1) == 1; }

int64_t AppApi::Call::number(std::string_view key, int64_t fallback, int64_t least, int64_t most) const {
  const std::optional<std::string> text = query(key);
  if (!text) return fallback;
  int64_t n = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), n);
  if (error != std::errc() || end != text->data() + text->size() || n < least || n > most)
    throw wrong_field(std::string(key), cat(key, ": expected a whole number from ", least, " to ", most, ", found '",
                                            text->substr(0, 40), "'"));
  return n;
}

AppApi::Answer AppApi::login(Call& call) {
  if (!options_.keys) throw not_found("this server needs no key", "no_keys");
  const json::value body = call.body();
  Fields f(body);
  const std::optional<std::string> key = f.string("key");
  if (!key || key->empty()) throw wrong_field("key", "key: expected one of this server's keys, found none");
  refuse_left_over(f);
  call.headers.emplace_back("Set-Cookie", options_.keys->login(call.request, *key));
  return json::object{{"logged_in", true}};
}

AppApi::Answer AppApi::logout(Call& call) {
  if (!options_.keys) throw not_found("this server needs no key", "no_keys");
  call.headers.emplace_back("Set-Cookie", options_.keys->logout(call.request));
  return json::object{{"logged_in", false}};
}

AppApi::Answer AppApi::state(Call& call) {
  json::array models;
  const MemoryRoom room = memory_room(host_);
  const auto known = host_.models();
  for (const auto& m : known) models.push_back(model_json(*m, room));
  if (options_.keys)
    if (auto cookie = options_.keys->renew(call.request)) call.headers.emplace_back("Set-Cookie", std::move(*cookie));
  return json::object{{"version", FATHOM_VERSION},
                      {"started", started_},
                      {"login", options_.keys != nullptr},
                      {"models", std::move(models)},
                      {"default_model", known.front()->name},
                      {"memory", {{"free_bytes", room.free}, {"reclaimable_bytes", room.reclaimable}}},
                      {"pulls", library_ != nullptr},
                      {"counts", {{"chats", store_.count()}}}};
}

AppApi::Answer AppApi::events(Call& call) {
  feed_.attach(call.responder);
  return std::nullopt;
}

void AppApi::drain() {
  answers_.drain();
  if (library_) library_->pulls().stop();
  feed_.close();
}

}  // namespace fathom

#include "server/api/api.h"

#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "server/api/anthropic_reply.h"
#include "server/api/embeddings.h"
#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/api/ollama_reply.h"
#include "server/api/openai_request.h"
#include "server/api/openapi.h"
#include "server/api/rerank.h"
#include "server/app/app_api.h"
#include "server/app/web_files.h"
#include "server/keys/key_access.h"
#include "server/request_record.h"

namespace fathom {
namespace {

void send_json(Responder& responder, const json::value& value, int status = 200, HttpHeaders headers = {}) {
  responder.send(status, "application/json", to_json(value), std::move(headers));
}

/// In the words of the protocol that the request speaks.
void send_error(const HttpServerRequest& request, Responder& responder, const ApiError& error) {
  HttpHeaders headers;
  if (error.retry_after_s) headers.emplace_back("Retry-After", std::to_string(*error.retry_after_s));
  if (!error.allow.empty()) headers.emplace_back("Allow", error.allow);
  if (!error.authenticate.empty()) headers.emplace_back("WWW-Authenticate", error.authenticate);
  const bool anthropic = is_anthropic(request);
  if (anthropic) headers.emplace_back("request-id", request.id);
  const json::object body = anthropic            ? anthropic_error(error, request.id)
                            : is_ollama(request) ? ollama_error(error)
                                                 : openai_error(error);
  responder.send(anthropic ? anthropic_status(error) : error.status, "application/json", to_json(body),
                 std::move(headers));
}

constexpr std::string_view kAnswers = "/chat/completions/";

/// Whether a path has a route's form: {id} stands for one of its parts, {+name} at the end for one or more.
bool has_form(std::string_view path, std::string_view route) {
  for (size_t open = route.find('{'); open != std::string_view::npos; open = route.find('{')) {
    if (!path.starts_with(route.substr(0, open))) return false;
    path.remove_prefix(open);
    if (path.empty() || path.front() == '/') return false;
    if (route[open + 1] == '+') return true;
    route.remove_prefix(route.find('}', open) + 1);
    path.remove_prefix(std::min(path.find('/'), path.size()));
  }
  return path == route;
}

}  // namespace

HttpHeaders warning_headers(const std::vector<std::string>& fields) {
  if (fields.empty()) return {};
  std::string names;
  for (size_t i = 0; i < fields.size() && i < kMostNamed; ++i) names += (i ? ", " : "") + fields[i].substr(0, 64);
  if (fields.size() > kMostNamed) names += ", ...";
  return {{kIgnoredHeader, names}};
}

std::string_view bare(std::string_view path) {
  for (const std::string_view prefix : {"/beta", "/v1"})
    if (path.starts_with(prefix) && path.substr(prefix.size()).starts_with('/')) path.remove_prefix(prefix.size());
  return path;
}

std::string path_id(const HttpServerRequest& request) {
  std::string_view path = bare(request.path);
  path.remove_prefix(path.find('/', 1) + 1);
  return std::string(path.substr(0, path.find('/')));
}

Api::Api(ModelHost& host, ApiOptions options) : host_(host), options_(std::move(options)) {
  if (!options_.store) options_.store = std::make_shared<Database>(":memory:");
  responses_ = std::make_shared<ResponseStore>(options_.store, ResponseStore::Bounds{});
  files_ = std::make_shared<FileStore>(options_.store, FileStore::Bounds{});
  batches_ = std::make_shared<BatchStore>(options_.store);
  for (const ModelAlias& a : options_.aliases) {
    if (!host_.find(a.model))
      throw UsageError(cat("alias ", a.name, ": expected a model that is served, found '", a.model, "'"));
    if (host_.find(a.name)) throw UsageError(cat("alias ", a.name, ": expected a name that no model has"));
    if (std::ranges::count(options_.aliases, a.name, &ModelAlias::name) > 1)
      throw UsageError(cat("alias ", a.name, ": expected it once"));
  }
  options_.defaults.workers = std::make_shared<Workers>(options_.workers);
  app_ = std::make_unique<AppApi>(
      host_, AppApi::Options{options_.store, options_.host_names, options_.keys}, options_.defaults, running_,
      [this](const std::string& name, std::optional<bool>& thinking) { return model_of(name, thinking); });
  start_batches();
}

void Api::manage_models(ModelLibraryOptions options) { app_->manage_models(std::move(options)); }

void Api::drain() {
  draining_ = true;
  batch_runner_->pause();
  app_->drain();
}

Api::~Api() {
  batch_runner_.reset();  // it asks the workers
  if (options_.defaults.workers) options_.defaults.workers->stop();
}

const std::vector<Api::Route>& Api::routes() {
  static const std::vector<Route> kRoutes = {
      {"POST", "/chat/completions", &Api::chat_completions},
      {"GET", "/chat/completions/{id}", &Api::one_answer},
      {"POST", "/chat/completions/{id}/answer-now", &Api::one_answer},
      {"POST", "/chat/completions/{id}/cancel", &Api::one_answer},
      {"POST", "/completions", &Api::completions},
      {"POST", "/responses", &Api::responses},
      {"GET", "/responses/{id}", &Api::one_response},
      {"DELETE", "/responses/{id}", &Api::delete_response},
      {"GET", "/responses/{id}/input_items", &Api::response_input},
      {"POST", "/responses/{id}/cancel", &Api::cancel_response},
      {"POST", "/files", &Api::upload_file},
      {"GET", "/files", &Api::list_files},
      {"GET", "/files/{id}", &Api::one_file},
      {"DELETE", "/files/{id}", &Api::delete_file},
      {"GET", "/files/{id}/content", &Api::file_content},
      {"POST", "/batches", &Api::create_batch},
      {"GET", "/batches", &Api::list_batches},
      {"GET", "/batches/{id}", &Api::one_batch},
      {"POST", "/batches/{id}/cancel", &Api::cancel_batch},
      {"POST", "/embeddings", &Api::embeddings},
      {"POST", "/rerank", &Api::rerank},
      {"GET", "/models", &Api::list_models},
      {"POST", "/models/load", &Api::load_model},
      {"POST", "/models/unload", &Api::unload_model},
      {"POST", "/models/reload", &Api::reload_model},
      {"GET", "/models/{+name}", &Api::list_models},
      {"POST", "/tokenize", &Api::tokenize},
      {"POST", "/detokenize", &Api::detokenize},
      {"POST", "/apply-template", &Api::apply_template},
      {"POST", "/messages", &Api::anthropic_messages},
      {"POST", "/messages/count_tokens", &Api::anthropic_count_tokens},
      {"POST", "/anthropic/v1/messages", &Api::anthropic_messages},
      {"POST", "/anthropic/v1/messages/count_tokens", &Api::anthropic_count_tokens},
      {"GET", "/anthropic/v1/models", &Api::anthropic_models},
      {"GET", "/anthropic/v1/models/{+name}", &Api::anthropic_models},
      {"POST", "/api/chat", &Api::ollama_chat},
      {"POST", "/api/generate", &Api::ollama_generate},
      {"POST", "/api/embed", &Api::ollama_embed},
      {"GET", "/api/tags", &Api::ollama_tags},
      {"GET", "/api/ps", &Api::ollama_ps},
      {"POST", "/api/show", &Api::ollama_show},
      {"GET", "/api/version", &Api::ollama_version},
      {"GET", "/health", &Api::health},
      {"GET", "/ping", &Api::health},
      {"POST", "/ping", &Api::health},
      {"GET", "/version", &Api::version},
      {"GET", "/ready", &Api::ready},
      {"GET", "/metrics", &Api::metrics},
      {"GET", "/openapi.json", &Api::describe},
  };
  return kRoutes;
}

void Api::handle(HttpServerRequest request, std::shared_ptr<Responder> responder) {
  // It outlives this where an answer does.
  auto over = [metrics = options_.defaults.metrics, log = options_.log](const RequestRecord& record) {
    metrics->responded(record.status);
    if (log)
      log(record.line(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count()));
  };
  const auto recorded = std::make_shared<RecordedResponder>(std::move(responder), request, std::move(over));
  responder = recorded;
  if (options_.keys && !needs_no_key(request)) try {
      recorded->name_key(options_.keys->check(request));
    } catch (const ApiError& error) {
      return send_error(request, *responder, error);
    }
  // What never waits does not wait behind those who load a model.
  if (const std::string_view path = bare(request.path);
      path == "/health" || path == "/ready" || path == "/metrics" || is_web_file(path))
    return answer(request, responder);
  options_.defaults.workers->post(
      [this, request = std::move(request), responder = std::move(responder)] { answer(request, responder); });
}

void Api::answer(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  try {
    dispatch(request, responder);
  } catch (...) {
    send_error(request, *responder, api_error(std::current_exception()));
  }
}

void Api::dispatch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const std::string_view path = bare(request.path);
  std::string methods;
  for (const Route& route : routes()) {
    if (!has_form(path, route.path)) continue;
    methods += cat(methods.empty() ? "" : ", ", route.method, route.method == std::string_view("GET") ? ", HEAD" : "");
    if (request.method == route.method || (request.method == "HEAD" && route.method == std::string_view("GET")))
      return (this->*route.call)(request, responder);
  }
  if (send_web_file(request, *responder)) return;
  if (path.starts_with(AppApi::kPrefix)) return app_->handle(request, responder);
  if (!methods.empty()) {
    ApiError error(405, cat(request.method, " is not for ", request.path));
    error.allow = methods;
    throw error;
  }
  throw not_found(cat("no such path: ", request.method, " ", request.path), "unknown_path");
}

std::shared_ptr<const HostedModel> Api::hosted(const std::string& name) const {
  std::shared_ptr<const HostedModel> found = host_.find(name);
  if (!found) throw not_found(cat("no such model: '", name.substr(0, 200), "'"), "model_not_found");
  return found->base.empty() ? found : hosted(found->base);
}

std::string Api::own_name(const std::string& name, std::optional<bool>& thinking) const {
  std::string own = name.empty() ? host_.models().front()->name : name;
  const auto alias = std::ranges::find(options_.aliases, own, &ModelAlias::name);
  if (alias != options_.aliases.end()) {
    own = alias->model;
    if (!thinking) thinking = alias->thinking;
  }
  if (!host_.find(own)) {
    std::string names;
    for (const auto& m : host_.models()) names += (names.empty() ? "" : ", ") + m->name;
    for (const ModelAlias& a : options_.aliases) names += ", " + a.name;
    throw not_found(cat("model: expected one of ", names, ", found '", name.substr(0, 200), "'"), "model_not_found");
  }
  return own;
}

std::shared_ptr<LoadedModel> Api::model_of(const std::string& name, std::optional<bool>& thinking) {
  return host_.acquire(own_name(name, thinking));
}

void Api::run(std::vector<GenerateRequest> requests, const std::shared_ptr<Responder>& responder,
              const MakeReply& make_reply) {
  GenerateRequest& first = requests.front();
  std::optional<bool> thinking;
  ChatPrompt* chat = std::get_if<ChatPrompt>(&first.prompt);
  if (chat) thinking = chat->thinking;
  std::shared_ptr<LoadedModel> model = model_of(first.model, thinking);
  if (chat) chat->thinking = thinking;
  if (first.model.empty()) first.model = host_.models().front()->name;
  generate(host_, std::move(model), requests, options_.defaults, responder, warning_headers(first.warnings), make_reply,
           running_);
}

void Api::chat_completions(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const json::value body = parse_json(request.body, "the body");
  const OpenAiDialect dialect{request.path.starts_with("/beta"), options_.deepseek_strict};
  run({read_chat_request(body, dialect)}, responder, make_chat_reply);
}

void Api::completions(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  std::vector<GenerateRequest> requests = read_completion_requests(parse_json(request.body, "the body"));
  std::vector<std::variant<std::string, std::vector<TokenId>>> echoed;
  if (requests.front().echo)
    for (const GenerateRequest& r : requests) {
      if (const std::string* text = std::get_if<std::string>(&r.prompt))
        echoed.emplace_back(*text);
      else
        echoed.emplace_back(std::get<std::vector<TokenId>>(r.prompt));
    }
  run(std::move(requests), responder, [&](ReplyContext context) {
    // Once for each choice, but not before generate() has seen that the prompts fit into the context.
    std::vector<std::string> prompts;
    for (const auto& prompt : echoed) {
      const std::string* text = std::get_if<std::string>(&prompt);
      const Tokenizer& tokenizer = context.loaded->engine().tokenizer();
      prompts.insert(prompts.end(), context.n,
                     text ? *text : tokenizer.decode(std::get<std::vector<TokenId>>(prompt), /*skip_special=*/true));
    }
    return make_completion_reply(std::move(context), std::move(prompts));
  });
}

void Api::embeddings(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  EmbeddingRequest r = read_embedding_request(parse_json(request.body, "the body"));
  std::optional<bool> thinking;
  const HttpHeaders headers = warning_headers(r.warnings);
  std::shared_ptr<LoadedModel> model = model_of(r.model, thinking);
  answer_embeddings(host_, std::move(model), std::move(r), options_.defaults, responder, headers);
}

void Api::rerank(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  RerankRequest r = read_rerank_request(parse_json(request.body, "the body"));
  std::optional<bool> thinking;
  const HttpHeaders headers = warning_headers(r.warnings);
  std::shared_ptr<LoadedModel> model = model_of(r.model, thinking);
  answer_rerank(host_, std::move(model), std::move(r), options_.defaults, responder, headers);
}

void Api::list_models(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  if (is_anthropic(request)) return anthropic_models(request, responder);
  json::array list;
  const auto add = [&](const std::string& name, const std::string& root, const std::string& base) {
    const std::shared_ptr<LoadedModel> model = host_.loaded(root);
    json::object entry{{"id", name}, {"object", "model"}, {"created", 0}, {"owned_by", "fathom"}};
    if (name != root) entry["root"] = root;
    if (!base.empty()) entry["parent"] = base;
    entry["loaded"] = model != nullptr;
    entry["status"] = json::object{{"value", model ? "loaded" : "unloaded"}};  // llama-server's
    if (model) entry["max_model_len"] = model->engine().info().ctx;
    list.push_back(std::move(entry));
  };
  for (const auto& m : host_.models()) add(m->name, m->name, m->base);
  for (const ModelAlias& a : options_.aliases) add(a.name, a.model, "");
  const std::string_view path = bare(request.path);
  if (path == "/models") return send_json(*responder, json::object{{"object", "list"}, {"data", std::move(list)}});
  const std::string_view name = path.substr(std::string_view("/models/").size());
  for (const json::value& entry : list)
    if (std::string_view(entry.at("id").as_string()) == name) return send_json(*responder, entry);
  throw not_found(cat("no such model: '", name.substr(0, 200), "'"), "model_not_found");
}

void Api::one_answer(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  std::string_view id = bare(request.path).substr(kAnswers.size());
  const size_t slash = id.find('/');
  const std::string_view what = slash == std::string_view::npos ? "" : id.substr(slash);
  id = id.substr(0, slash);
  if (what.empty()) {
    const std::shared_ptr<KeptAnswer> kept = running_.kept(id);
    if (!kept) throw not_found(cat("no answer is kept as '", id.substr(0, 100), "'"), "answer_not_found");
    if (kept->has_gap())
      throw ApiError(410, cat("the answer is longer than the ", KeptAnswer::kMostBytes, " bytes kept"));
    const std::string from = query_value(request.query, "from").value_or("0");
    size_t skip = 0;
    const auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), skip);
    if (error != std::errc() || end != from.data() + from.size())
      throw wrong_field("from", "from: expected how many events are known already");
    return kept->attach(responder, skip);
  }
  const std::shared_ptr<RunningRequest> running = running_.find(id);
  if (!running) throw not_found(cat("no request runs as '", id.substr(0, 100), "'"), "answer_not_found");
  what == "/cancel" ? running->cancel() : running->answer_now();
  send_json(*responder, json::object{{"id", id}, {"status", what == "/cancel" ? "cancelled" : "answering"}});
}

void Api::version(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  send_json(*responder, json::object{{"version", FATHOM_VERSION}});
}

void Api::health(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  send_json(*responder, json::object{{"status", "ok"}});
}

void Api::metrics(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  std::optional<HttpCounters> http;
  if (const HttpServer* server = http_) http = server->counters();
  std::optional<KeyCounters> keys;
  if (options_.keys) keys = options_.keys->counters();
  responder->send(200, "text/plain; version=0.0.4; charset=utf-8",
                  options_.defaults.metrics->page(host_, http ? &*http : nullptr, keys ? &*keys : nullptr));
}

void Api::describe(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  std::vector<RouteName> names;
  for (const Route& route : routes()) names.push_back({route.method, route.path});
  send_json(*responder, openapi(names, options_.keys != nullptr, kOpenRoutes));
}

void Api::ready(const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
  const bool ready = !draining_;
  send_json(*responder, json::object{{"status", ready ? "ready" : "draining"}}, ready ? 200 : 503);
}

}  // namespace fathom

// The API of `fathom serve`: paths to what they do. Every protocol's own files say how its requests are read and its
// replies written; here they meet the models. handle() is the HTTP server's handler.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/model_host.h"
#include "server/api/batch_runner.h"
#include "server/api/generate.h"
#include "server/api/thinking_signature.h"
#include "server/api/workers.h"
#include "server/http/http.h"
#include "server/store/database.h"
#include "server/store/response_store.h"

namespace fathom {

struct OllamaRequest;
class KeyAccess;

/// Another name for a model, perhaps with or without thinking.
struct ModelAlias {
  std::string name, model;
  std::optional<bool> thinking = {};
};

struct ApiOptions {
  std::vector<ModelAlias> aliases;
  bool deepseek_strict = false;  ///< DeepSeek's own refusals are reproduced
  GenerateDefaults defaults = {};
  size_t workers = 4;
  size_t max_requests = 512;                  ///< the host's, of which batches leave some to others
  ThinkingSignature signature = {};           ///< of Anthropic's thinking blocks
  std::vector<std::string> host_names = {};   ///< by which the app may be asked for (server/app/app_access.h)
  std::shared_ptr<Database> store = nullptr;  ///< null: one in memory
  std::shared_ptr<KeyAccess> keys = nullptr;  ///< null: everybody may ask
  std::function<void(const std::string& line)> log =
      {};  ///< a line of JSON per request, without its texts; may be empty
};

/// Whose errors a request must be answered with; others have OpenAI's.
bool is_anthropic(const HttpServerRequest& request);
bool is_ollama(const HttpServerRequest& request);

class AppApi;
struct ModelLibraryOptions;
/// Names the fields that were not understood, as far as a header holds them.
HttpHeaders warning_headers(const std::vector<std::string>& fields);
/// A path's form without what clients put in front of it: /v1, /beta, /beta/v1.
std::string_view bare(std::string_view path);
/// The part of a request's path that a route calls {id}: the second.
std::string path_id(const HttpServerRequest& request);

class Api {
 public:
  /// Throws UsageError for an alias of no model, or a name that is taken.
  Api(ModelHost& host, ApiOptions options);
  ~Api();

  void handle(HttpServerRequest request, std::shared_ptr<Responder> responder);
  /// From now on readiness says no, and the app's answers and streams end.
  void drain();
  /// Lets the app's page pull and remove models from now on. Before the first request.
  void manage_models(ModelLibraryOptions options);
  /// Its counters are among the metrics from now on; it must outlive the requests.
  void count_http(const HttpServer& server) { http_ = &server; }

 private:
  using Call = void (Api::*)(const HttpServerRequest&, const std::shared_ptr<Responder>&);
  struct Route {
    const char *method, *path;  ///< {id} in the path stands for any name
    Call call;
  };
  static const std::vector<Route>& routes();

  void answer(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void dispatch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  /// The host's name of the model that a request names; an alias puts its wish for thinking into `thinking`.
  std::string own_name(const std::string& name, std::optional<bool>& thinking) const;
  /// That model, loaded.
  std::shared_ptr<LoadedModel> model_of(const std::string& name, std::optional<bool>& thinking);
  /// The host's model of this name, whose files are to be looked at: of an adapter its base.
  std::shared_ptr<const HostedModel> hosted(const std::string& name) const;
  void run(std::vector<GenerateRequest> requests, const std::shared_ptr<Responder>& responder,
           const MakeReply& make_reply);

  void chat_completions(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void completions(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void embeddings(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void rerank(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void list_models(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void load_model(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void unload_model(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void reload_model(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void tokenize(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void detokenize(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void apply_template(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  /// /chat/completions/ID: the kept answer; ID/answer-now and ID/cancel.
  void one_answer(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  /// OpenAI's /responses, and one that is kept: /responses/{id}, its input_items and cancel.
  void responses(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void one_response(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void delete_response(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void response_input(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void cancel_response(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  StoredResponse stored_response(const std::string& id);
  void upload_file(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void list_files(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void one_file(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void file_content(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void delete_file(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void create_batch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void list_batches(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void one_batch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void cancel_batch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void start_batches();
  void anthropic_messages(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void anthropic_count_tokens(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void anthropic_models(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ollama_chat(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ollama_generate(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ollama_run(OllamaRequest request, const std::shared_ptr<Responder>& responder, const MakeReply& make_reply);
  void ollama_embed(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ollama_tags(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ollama_ps(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ollama_show(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ollama_version(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void health(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void version(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void metrics(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void describe(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  void ready(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);

  ModelHost& host_;
  ApiOptions options_;
  std::atomic<bool> draining_ = false;
  RunningRequests running_;
  std::shared_ptr<ResponseStore> responses_;
  std::shared_ptr<FileStore> files_;
  std::shared_ptr<BatchStore> batches_;
  std::atomic<const HttpServer*> http_ = nullptr;  // null: none is known
  std::unique_ptr<AppApi> app_;
  std::unique_ptr<BatchRunner> batch_runner_;  // last: it uses all of the above
};

}  // namespace fathom

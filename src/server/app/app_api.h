// The API of the page in the browser, /app/api/...: conversations, kept by the server, and answers that go on without a
// page. docs/app-api.md describes it. handle() answers; what a request means to the store and to the models is in the
// files beside this one. Thread-safe.
#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api/generate.h"
#include "server/api/workers.h"
#include "server/app/app_answers.h"
#include "server/app/app_shelf.h"
#include "server/app/change_feed.h"
#include "server/app/chat_search.h"
#include "server/app/chat_store.h"
#include "server/app/model_library.h"
#include "server/app/model_memory.h"

namespace fathom {

class KeyAccess;

class AppApi {
 public:
  static constexpr std::string_view kPrefix = "/app/api/";

  struct Options {
    std::shared_ptr<Database> database;
    std::vector<std::string> host_names;  ///< by which it may be asked for, besides loopback's and addresses
    std::shared_ptr<KeyAccess> keys;      ///< null: there is no login
  };
  /// What is given must outlive this. Throws as ChatStore does.
  AppApi(ModelHost& host, Options options, const GenerateDefaults& defaults, RunningRequests& requests,
         AppAnswers::FindModel find_model);

  /// Cuts exports off.
  ~AppApi();
  AppApi(const AppApi&) = delete;
  AppApi& operator=(const AppApi&) = delete;
  /// Lets the page pull and remove models from now on, and serves those that are installed. Before the first request.
  void manage_models(ModelLibraryOptions options);
  /// Answers a request whose path begins with kPrefix, errors too.
  void handle(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder);
  /// Ends the streams, what runs and what is being pulled.
  void drain();

 private:
  struct Call {
    const HttpServerRequest& request;
    const std::shared_ptr<Responder>& responder;
    std::vector<std::string> ids;  // what stands for '*' in the route's path
    int status = 200;
    HttpHeaders headers = {{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}};
    json::value body() const;
    std::optional<std::string> query(std::string_view key) const;
    /// Throws ApiError for another value than 0 or 1.
    bool flag(std::string_view key) const;
    int64_t number(std::string_view key, int64_t fallback, int64_t least, int64_t most) const;
  };
  /// nullopt: it answers by itself.
  using Answer = std::optional<json::object>;
  struct Route {
    const char *method, *path;
    Answer (AppApi::*call)(Call&);
  };
  static const std::vector<Route>& routes();
  Answer dispatch(Call& call);
  json::object shown(const AppChat& chat) const { return chat_json(chat, answers_.runs_in(chat.id)); }

  Answer login(Call& call);
  Answer logout(Call& call);
  Answer state(Call& call);
  Answer events(Call& call);
  // ---- app_chats.cc
  Answer list_chats(Call& call);
  Answer create_chat(Call& call);
  Answer get_chat(Call& call);
  Answer change_chat(Call& call);
  Answer delete_chat(Call& call);
  Answer restore_chat(Call& call);
  Answer add_message(Call& call);
  Answer add_answer(Call& call);
  Answer watch_message(Call& call);
  Answer stop_message(Call& call);
  Answer hurry_message(Call& call);
  Answer delete_message(Call& call);
  // ---- app_shelf_routes.cc
  Answer search(Call& call);
  Answer list_folders(Call& call);
  Answer add_folder(Call& call);
  Answer change_folder(Call& call);
  Answer delete_folder(Call& call);
  Answer list_templates(Call& call);
  Answer add_template(Call& call);
  Answer change_template(Call& call);
  Answer delete_template(Call& call);
  Answer preferences(Call& call);
  Answer change_preferences(Call& call);
  static void send_file(Call& call, std::string_view type, std::string body, const std::string& title,
                        const std::string& extension);
  // ---- app_prompt_routes.cc
  Answer message_prompt(Call& call);
  Answer message_tokens(Call& call);
  Answer count_tokens(Call& call);
  Answer file_as_text(Call& call);
  // ---- app_model_routes.cc
  json::object model_json(const HostedModel& model, const MemoryRoom& room);
  ModelLibrary& library();
  Answer recommended(Call& call);
  Answer list_pulls(Call& call);
  Answer begin_pull(Call& call);
  Answer end_pull(Call& call);
  Answer remove_model(Call& call);
  // ---- app_transfer_routes.cc
  Answer export_chat(Call& call);
  Answer export_all(Call& call);
  Answer import_chats(Call& call);
  void stream_chats(Responder& to);

  ModelHost& host_;
  const AppAnswers::FindModel find_model_;
  const Options options_;
  const int64_t started_ = unix_ms();
  ChatStore store_;  // makes the tables
  ChatSearch search_{options_.database};
  AppShelf shelf_{options_.database};
  ChangeFeed feed_{started_};
  AppAnswers answers_;  // it uses those above
  ModelMemory memory_;
  std::unique_ptr<ModelLibrary> library_;  // null: the page may not change what is installed
  std::atomic<bool> ends_ = false;
  Workers exports_{2};  // last: those that run use all of the above, and wait for readers
};

}  // namespace fathom

// The app's answers: put in line as any request of the API, made whether or not a page watches, and kept in the store
// every few seconds and at their end. A thread of its own writes, so that the compute thread never waits for a disk.
// Thread-safe.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/api/generate.h"
#include "server/app/answer_energy.h"
#include "server/app/change_feed.h"
#include "server/app/chat_store.h"
#include "server/app/live_answer.h"

namespace fathom {

/// An answer that the page wants.
struct AnswerWish {
  std::string chat, parent;
  std::string model;              ///< empty: the settings', else the server's first
  json::object settings = {};     ///< besides the chat's, which they outdo; null: as if the chat had none
  std::string thinking, content;  ///< how it begins; empty: by itself
};

/// A request of the app, and the model that is to answer it.
struct PreparedAnswer {
  GenerateRequest request;
  std::shared_ptr<LoadedModel> model;
};

class AppAnswers {
 public:
  /// The model of that name, loaded; puts an alias's wish for thinking where there is none.
  using FindModel = std::function<std::shared_ptr<LoadedModel>(const std::string& name, std::optional<bool>& thinking)>;

  /// What is given must outlive this.
  AppAnswers(ModelHost& host, ChatStore& store, ChangeFeed& feed, const GenerateDefaults& defaults,
             RunningRequests& requests, FindModel find_model);
  /// Stops what runs, and keeps it.
  ~AppAnswers();

  /// Answers 201 with the message as soon as the answer is in line. Throws ApiError, and as generate() does.
  void start(const AnswerWish& wish, const std::shared_ptr<Responder>& responder);
  /// What start() asks for the answer to `branch`, with its model loaded; `answer` as answer_request() has it. Throws
  /// ApiError.
  PreparedAnswer prepare(const std::vector<AppMessage>& branch, const AppMessage& answer) const;
  /// Streams a message behind byte `from`, to its end. Throws ApiError 404.
  void watch(const std::string& id, uint64_t from, std::shared_ptr<Responder> page);
  /// Ends an answer and returns it as it is kept; one that is over stays as it is. Throws ApiError 404.
  AppMessage stop(const std::string& id);
  /// Closes the thinking. Throws ApiError 404 where the answer does not run.
  void answer_now(const std::string& id);
  /// Ends all answers of a chat without waiting for it.
  void cancel_chat(const std::string& chat);
  /// The messages are gone: their answers end, and are kept nowhere.
  void forget(const std::vector<std::string>& ids);

  bool runs_in(const std::string& chat) const;
  /// The message with what its answer has so far, if it runs.
  AppMessage current(AppMessage message) const;
  /// Ends what runs; new answers are refused.
  void drain();

 private:
  struct Entry {
    std::shared_ptr<LiveAnswer> answer;
    std::string chat, request;  // request: its id among the running ones
  };
  struct Ended {
    std::shared_ptr<LiveAnswer> answer;
    AppMessage message;
  };
  class AppReply;

  std::shared_ptr<LiveAnswer> find(const std::string& id) const;
  void cancel(const std::string& request) const;
  void ended(AppMessage message);
  void work();
  void keep_end(const Ended& end);
  void keep_progress();
  void purge();

  ModelHost& host_;
  ChatStore& store_;
  ChangeFeed& feed_;
  const GenerateDefaults& defaults_;
  RunningRequests& requests_;
  const FindModel find_model_;
  AnswerEnergy energy_{*defaults_.metrics};

  mutable std::mutex mutex_;
  std::condition_variable wake_, kept_;
  std::map<std::string, Entry> running_;  // by message
  std::deque<Ended> ended_;               // to be kept
  bool drains_ = false, ends_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace fathom

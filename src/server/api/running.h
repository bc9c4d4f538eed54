// Answers that are being made, and those that a client asked to keep: by their ids, so that they can be told to come to
// the point, be cancelled, or be picked up again after a lost connection. Thread-safe.
#pragma once
#include <chrono>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "server/http/http.h"

namespace fathom {

/// A request whose answers are being made.
class RunningRequest {
 public:
  virtual ~RunningRequest() = default;
  virtual void cancel() = 0;
  /// Something is still to be written.
  virtual bool running() const = 0;
  /// Closes the thinking.
  virtual void answer_now() = 0;
};

/// Stands between an answer and whoever reads it: keeps what is written, up to kMostBytes, so that a reader may go and
/// another come. The answer goes on without any.
class KeptAnswer final : public Responder {
 public:
  static constexpr size_t kMostBytes = size_t{16} << 20;

  void send(int status, std::string_view content_type, std::string body, HttpHeaders headers = {}) override;
  void begin(int status, std::string_view content_type, HttpHeaders headers = {}) override;
  void write(std::string data) override;
  void end() override;
  void heartbeat(std::chrono::milliseconds interval, std::string text) override;
  void on_close(std::function<void()> gone) override;
  bool begun() const override;
  bool closed() const override { return false; }
  size_t queued_bytes() const override { return 0; }

  /// Writes to `reader` what has been written but for the first `skip` pieces, and from now on everything.
  void attach(std::shared_ptr<Responder> reader, size_t skip);
  /// Nothing more will come.
  bool over() const;
  /// It was one piece, not a stream.
  bool whole() const;
  size_t bytes() const;
  /// It is longer than what is kept: nobody can be told all of it any more.
  bool has_gap() const { return bytes() > kMostBytes; }

 private:
  void tell_begin(Responder& reader) const;

  mutable std::mutex mutex_;
  int status_ = 0;  // 0: not begun
  std::string content_type_;
  HttpHeaders headers_;
  std::vector<std::string> pieces_;
  size_t bytes_ = 0;
  bool whole_ = false, over_ = false;
  std::chrono::milliseconds interval_{0};
  std::string beat_;
  std::vector<std::shared_ptr<Responder>> readers_;
};

/// The answers of a server by id.
class RunningRequests {
 public:
  /// Kept answers that nobody may fetch any more give way to new ones.
  static constexpr size_t kMostKept = 256, kMostKeptBytes = size_t{256} << 20;

  void add(const std::string& id, const std::shared_ptr<RunningRequest>& request);
  /// Null: none of that id runs. What stands before a '-' in the id is the protocol's.
  std::shared_ptr<RunningRequest> find(std::string_view id) const;
  void keep(const std::string& id, std::shared_ptr<KeptAnswer> answer);
  std::shared_ptr<KeptAnswer> kept(std::string_view id) const;
  /// Nobody finds it any more.
  void forget(std::string_view id);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::weak_ptr<RunningRequest>> running_;
  std::list<std::pair<std::string, std::shared_ptr<KeptAnswer>>> kept_;  // the oldest first
};

}  // namespace fathom

// The thread that works batches off, over a server that answers at once.
#include "server/api/batch_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"

namespace fathom {
namespace {

using ::testing::HasSubstr;

constexpr const char* kChat = "/v1/chat/completions";

json::object new_batch(const std::string& id) {
  json::object batch{{"id", id}, {"created_at", 5}, {"status", "validating"}, {"endpoint", kChat}};
  batch["input_file_id"] = "file-in";
  batch["request_counts"] = json::object{{"total", 0}};
  for (const char* key : {"errors", "finalizing_at", "cancelling_at", "completed_at", "output_file_id"})
    batch[key] = nullptr;
  return batch;
}

/// Wakes the runner until the batch has this status; the limit only ends a test that hangs.
json::object with_status(BatchStore& batches, BatchRunner& runner, const std::string& id, const std::string& status) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (batches.status(id) != status && std::chrono::steady_clock::now() < end) {
    runner.wake();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(batches.status(id), status);
  return *batches.find(id);
}

TEST(BatchRunner, ResultsWaitForRoomAndOtherBatchesGoOn) {
  const auto database = std::make_shared<Database>(":memory:");
  const auto files = std::make_shared<FileStore>(database, FileStore::Bounds{.count = 3});
  const auto batches = std::make_shared<BatchStore>(database);
  files->add({"file-in", "in.jsonl", "batch", 1},
             cat(R"({"custom_id": "a", "method": "POST", "url": ")", kChat, R"(", "body": {}})"));
  files->add({"file-1", "x", "user_data", 1}, "x");
  files->add({"file-2", "x", "user_data", 1}, "x");
  batches->put(new_batch("batch_1"));
  batches->put(new_batch("batch_2"));
  BatchRunner::Calls calls;
  size_t asked = 0;  // on the runner's thread
  calls.answer = [&asked](const HttpServerRequest&, const std::shared_ptr<Responder>& responder) {
    responder->send(200, "application/json", cat(++asked), {});
  };
  calls.room = [](size_t) { return true; };
  calls.random_id = [] { return "x"; };
  BatchRunner runner(batches, files, "", calls);
  for (const char* id : {"batch_1", "batch_2"}) {
    const json::object waits = with_status(*batches, runner, id, "finalizing");
    EXPECT_THAT(std::string(waits.at("errors").at("data").at(0).at("message").as_string()), HasSubstr("delete some"));
    EXPECT_EQ(waits.at("request_counts").at("completed"), 1);
  }
  files->remove("file-in");  // no longer needed
  const json::object first = with_status(*batches, runner, "batch_1", "completed");
  EXPECT_TRUE(first.at("errors").is_null());
  files->remove("file-1");
  with_status(*batches, runner, "batch_2", "completed");
  EXPECT_THAT(files->content("file-1-output").value_or(""), HasSubstr(R"("body":1)"));
  EXPECT_THAT(files->content("file-2-output").value_or(""), HasSubstr(R"("body":2)"));
}

}  // namespace
}  // namespace fathom

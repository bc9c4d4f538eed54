// /v1/files and /v1/batches: what clients upload, and requests by the file.
#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>

#include "server/api/api.h"
#include "server/api/error.h"
#include "server/api/fields.h"
#include "server/api/paging.h"
#include "server/http/multipart.h"

namespace fathom {
namespace {

constexpr std::array<std::string_view, 6> kPurposes = {"assistants", "batch",     "evals",
                                                       "fine-tune",  "user_data", "vision"};
constexpr std::array<std::string_view, 4> kEndpoints = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings",
                                                        "/v1/responses"};
constexpr int64_t kLeastLife = 3600, kMostLife = 30 * 24 * 3600;

json::object file_json(const StoredFile& f) {
  return {{"id", f.id},
          {"object", "file"},
          {"bytes", f.bytes},
          {"created_at", f.created},
          {"expires_at", f.expires ? json::value(*f.expires) : json::value(nullptr)},
          {"filename", f.filename},
          {"purpose", f.purpose},
          {"status", "processed"},
          {"status_details", nullptr}};
}

StoredFile found(FileStore& files, const std::string& id) {
  std::optional<StoredFile> file = files.find(id);
  if (!file) throw not_found(cat("No such File object: ", id.substr(0, 100)), "file_not_found");
  return std::move(*file);
}

json::object found(BatchStore& batches, const std::string& id) {
  std::optional<json::object> batch = batches.find(id);
  if (!batch) throw not_found(cat("No batch found with id '", id.substr(0, 100), "'."), "batch_not_found");
  return std::move(*batch);
}

void send(Responder& responder, const json::object& object) {
  responder.send(200, "application/json", to_json(object));
}

int64_t life_s(const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < kLeastLife || value > kMostLife)
    throw wrong_field("expires_after", cat("expires_after.seconds: expected ", kLeastLife, " to ", kMostLife));
  return value;
}

}  // namespace

void Api::upload_file(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  std::vector<FormPart> parts = parse_form(request.header("content-type").value_or(""), request.body);
  const auto part = [&](std::string_view name) {
    const auto at = std::ranges::find(parts, name, [](const FormPart& p) { return std::string_view(p.name); });
    return at == parts.end() ? nullptr : &*at;
  };
  FormPart* file = part("file");
  const FormPart* purpose = part("purpose");
  if (!file || file->filename.empty()) throw wrong_field("file", "file: expected a file, found none");
  if (!purpose || std::ranges::find(kPurposes, purpose->content) == kPurposes.end())
    throw wrong_field("purpose", "purpose: expected assistants, batch, evals, fine-tune, user_data or vision");
  StoredFile stored{"file-" + random_id(), file->filename, purpose->content, std::time(nullptr)};
  if (const FormPart* seconds = part("expires_after[seconds]"))
    stored.expires = stored.created + life_s(seconds->content);
  send(*responder, file_json(files_->add(std::move(stored), std::move(file->content))));
}

void Api::list_files(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  json::array files;
  for (const StoredFile& f : files_->list(query_value(request.query, "purpose").value_or("")))
    files.push_back(file_json(f));
  send(*responder, list_page(std::move(files), request.query, 10'000, 10'000));
}

void Api::one_file(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  send(*responder, file_json(found(*files_, path_id(request))));
}

void Api::file_content(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const std::string id = path_id(request);
  found(*files_, id);
  std::optional<std::string> content = files_->content(id);
  if (!content) throw not_found(cat("The bytes of the file ", id, " are not there any more"), "file_not_found");
  // Never shown as a page of ours, whatever is in it.
  responder->send(200, "application/octet-stream", std::move(*content),
                  {{"X-Content-Type-Options", "nosniff"}, {"Content-Disposition", "attachment"}});
}

void Api::delete_file(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const std::string id = path_id(request);
  found(*files_, id);
  files_->remove(id);
  send(*responder, {{"id", id}, {"object", "file"}, {"deleted", true}});
}

void Api::create_batch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const json::value body = parse_json(request.body, "the body");
  Fields f(body);
  const std::string input = f.string("input_file_id").value_or(""), endpoint = f.string("endpoint").value_or("");
  if (!files_->find(input))
    throw wrong_field("input_file_id",
                      cat("input_file_id: expected a file of /v1/files, found '", input.substr(0, 100), "'"));
  if (std::ranges::find(kEndpoints, endpoint) == kEndpoints.end())
    throw wrong_field("endpoint",
                      "endpoint: expected /v1/chat/completions, /v1/completions, /v1/embeddings or "
                      "/v1/responses");
  if (f.string("completion_window").value_or("24h") != "24h")
    throw wrong_field("completion_window", "completion_window: expected 24h");
  json::object batch{{"id", "batch_" + random_id()}, {"object", "batch"},
                     {"endpoint", endpoint},         {"errors", nullptr},
                     {"input_file_id", input},       {"completion_window", "24h"},
                     {"status", "validating"},       {"output_file_id", nullptr},
                     {"error_file_id", nullptr},     {"created_at", std::time(nullptr)}};
  // It does not expire: a computer at home has time.
  for (const char* key : {"in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at",
                          "cancelling_at", "cancelled_at"})
    batch[key] = nullptr;
  batch["request_counts"] = json::object{{"total", 0}, {"completed", 0}, {"failed", 0}};
  batch["metadata"] = f.metadata();
  batches_->put(batch);
  batch_runner_->wake();
  HttpHeaders headers;
  if (const auto ignored = f.left_over(); !ignored.empty()) headers = warning_headers(ignored);
  responder->send(200, "application/json", to_json(batch), std::move(headers));
}

void Api::list_batches(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const PageQuery asked = read_page_query(request.query, 20, 100);
  std::optional<json::array> page = batches_->list(asked.oldest_first, asked.limit + 1, asked.after);
  if (!page) throw no_such_item();
  const bool more = page->size() > asked.limit;
  if (more) page->pop_back();
  send(*responder, page_json(std::move(*page), more));
}

void Api::one_batch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  send(*responder, found(*batches_, path_id(request)));
}

void Api::cancel_batch(const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
  const std::string id = path_id(request);
  found(*batches_, id);
  if (batches_->cancel(id, std::time(nullptr))) batch_runner_->wake();
  send(*responder, found(*batches_, id));
}

void Api::start_batches() {
  BatchRunner::Calls calls;
  calls.answer = [this](const HttpServerRequest& request, const std::shared_ptr<Responder>& responder) {
    answer(request, responder);
  };
  // The first takes any place; more are for what others leave.
  calls.room = [this](size_t running) { return host_.requests() + (running == 0 ? 1 : 4) <= options_.max_requests; };
  calls.random_id = random_id;
  const Database& store = *options_.store;
  batch_runner_ = std::make_unique<BatchRunner>(
      batches_, files_, store.in_memory() ? "" : store.path().string() + ".batches.lock", std::move(calls));
}

}  // namespace fathom

#include "hub/repository.h"

#include <set>

#include "base/json.h"
#include "hub/headers.h"

namespace fathom {
namespace {

constexpr size_t kMostJsonBytes = size_t{64} << 20, kMostFiles = 100'000, kMostPages = 1'000;
constexpr int64_t kLargestFile = int64_t{1} << 44;  // 17.6 TB
constexpr std::chrono::milliseconds kPoll{100};

/// One document of the API, asked for until it comes or the retries are used up.
class ApiReader {
 public:
  ApiReader(HttpClient& client, std::string what, int retries, const Notice& notice, const WorkProgress& step)
      : client_(client), what_(std::move(what)), retries_(retries), notice_(notice), step_(step) {}

  /// The body; `reply` receives the headers.
  std::string get(const std::string& url, HttpReply& reply) {
    Retry retry(retries_);
    while (true) {
      std::string body;
      bool ended = false;
      HttpRequest request;
      request.url = url;
      request.on_body = [&](std::string_view piece) {
        bytes_ += piece.size();
        if (bytes_ > kMostJsonBytes)
          throw Error(cat(what_, ": expected a list of at most ", kMostJsonBytes, " bytes, found a longer one"));
        body += piece;
      };
      request.on_end = [&](const HttpReply& got) { reply = got, ended = true; };
      client_.start(std::move(request));
      while (!ended) wait(kPoll);
      if (reply.thrown) std::rethrow_exception(reply.thrown);
      if (reply.problem.empty() && reply.status >= 200 && reply.status < 300) return body;
      const auto until = std::chrono::steady_clock::now() + retry.wait_after(reply, what_, client_, notice_);
      while (std::chrono::steady_clock::now() < until) wait(kPoll);
    }
  }

 private:
  void wait(std::chrono::milliseconds at_most) {
    try {
      if (step_) step_(0, 0);
      client_.poll(at_most);
    } catch (...) {
      client_.stop();  // its functions point into get()
      throw;
    }
  }
  HttpClient& client_;
  std::string what_;
  int retries_;
  const Notice& notice_;
  const WorkProgress& step_;
  size_t bytes_ = 0;  // of all documents
};

RemoteFile file_of(const JsonObject& entry) {
  RemoteFile file;
  file.path = entry.string("path");
  if (const std::string problem = path_problem(file.path); !problem.empty())
    throw Error(cat(entry.what(), ": path: expected one that stays in the model's folder, found ", problem));
  const std::string what = cat(entry.what(), ": ", file.path);
  const int64_t size = entry.has("lfs") ? entry.object("lfs").integer("size") : entry.integer("size");
  if (size < 0 || size > kLargestFile) throw Error(cat(what, ": size: expected 0 to ", kLargestFile, ", found ", size));
  file.size = static_cast<uint64_t>(size);
  std::string& id = entry.has("lfs") ? file.sha256 : file.git_oid;
  id = entry.has("lfs") ? entry.object("lfs").string("oid") : entry.string("oid");
  if (id.starts_with("sha256:")) id.erase(0, 7);
  if (!is_hex_id(id) || id.size() != (entry.has("lfs") ? 64 : 40))
    throw Error(cat(what, ": oid: expected a hash of ", entry.has("lfs") ? 64 : 40, " hex digits, found '",
                    id.substr(0, 80), "'"));
  return file;
}

}  // namespace

std::vector<RemoteFile> files_of_page(const std::string& text, const std::string& what) {
  const json::value page = parse_json(text, what);
  const json::array* entries = page.if_array();
  if (!entries) throw Error(cat(what, ": expected a list of files, found another kind of value"));
  std::vector<RemoteFile> files;
  for (const json::value& value : *entries) {
    const JsonObject entry(value, what);
    if (entry.string("type") == "file") files.push_back(file_of(entry));
  }
  return files;
}

std::string file_url(const Endpoint& endpoint, const Repository& repository, const std::string& path) {
  return cat(endpoint.url, "/", repository.name.repository(), "/resolve/", repository.commit, "/",
             url_quoted(path, true));
}

Repository read_repository(HttpClient& client, const HubName& name, const std::string& revision, int retries,
                           const Notice& notice, const WorkProgress& step) {
  const std::string what = cat(name.repository(), revision == "main" ? "" : cat(" at ", revision));
  ApiReader api(client, what, retries, notice, step);
  HttpReply reply;
  const std::string base = cat(client.endpoint().url, "/api/models/", name.repository());
  const json::value info = parse_json(api.get(cat(base, "/revision/", url_quoted(revision, false)), reply),
                                      cat(what, ": the hub's description"));
  Repository repository{name, revision, JsonObject(info, cat(what, ": the hub's description")).string("sha"), {}};
  if (!is_hex_id(repository.commit))
    throw Error(cat(what, ": sha: expected a commit's hash, found '", repository.commit.substr(0, 80), "'"));
  std::set<std::string> seen;
  std::string url = cat(base, "/tree/", repository.commit, "?recursive=true&expand=false");
  for (size_t page = 1;; ++page) {
    if (page > kMostPages) throw Error(cat(what, ": expected at most ", kMostPages, " pages of files, found more"));
    for (RemoteFile& file : files_of_page(api.get(url, reply), cat(what, ": list of files"))) {
      if (!seen.insert(file.path).second)
        throw Error(cat(what, ": expected each file once, found ", file.path, " twice"));
      if (seen.size() > kMostFiles) throw Error(cat(what, ": expected at most ", kMostFiles, " files, found more"));
      repository.files.push_back(std::move(file));
    }
    const std::string* link = reply.header("link");
    const std::optional<std::string> next = link ? next_link(*link) : std::nullopt;
    if (!next) return repository;
    // A mirror may pass on the hub's own addresses: the pages are asked of the endpoint, whoever they name.
    const size_t query = next->find('?');
    if (query == std::string::npos)
      throw Error(cat(what, ": expected a next page with a query, found ", shown_url(*next)));
    url = cat(base, "/tree/", repository.commit, next->substr(query));
  }
}

}  // namespace fathom

#include "hub/download.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <list>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "hub/headers.h"
#include "hub/part_file.h"
#include "hub/sha.h"

namespace fathom {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kPoll{100};
constexpr std::chrono::seconds kSaveEvery{1};
constexpr uint64_t kHashedAtOnce = uint64_t{1} << 20;  // too short to be worth a thread

/// A reply to a request for a range that brings the whole file instead.
struct WholeFileReply {};

/// One file that is under way.
struct FileJob {
  FileJob(const std::filesystem::path& parts, const RemoteFile& remote, int retries)
      : file(remote), part(parts, remote), retry(retries) {}
  RemoteFile file;
  PartFile part;
  Retry retry;
  Clock::time_point not_before{};
  std::vector<size_t> active;  // pieces that a connection works on
  bool ranges = true;          // false: the server sends whole files only
  bool if_range = true;        // false: the server's tags do not hold
  bool hashing = false;
  uint64_t layout = 0;  // counts restarts: replies to requests from before one are not for these pieces

  bool is_active(size_t piece) const { return std::find(active.begin(), active.end(), piece) != active.end(); }
  bool verified() const { return !part.verified().empty(); }
};

struct Hashing {
  FileJob* job;
  std::future<FileHashes> result;
};

class Downloader {
 public:
  Downloader(HttpClient& client, const Repository& repository, const DownloadOptions& options)
      : client_(client), repository_(repository), options_(options) {}
  ~Downloader();
  Downloader(const Downloader&) = delete;
  Downloader& operator=(const Downloader&) = delete;

  void add(const std::filesystem::path& parts, const RemoteFile& file);
  std::map<std::string, std::string> run();

 private:
  void start_more();
  bool start_piece(FileJob& job);
  void on_head(FileJob& job, size_t piece, uint64_t first, const HttpReply& reply);
  void on_end(FileJob& job, size_t piece, uint64_t layout, const HttpReply& reply);
  void on_whole_file(FileJob& job, size_t piece, const HttpReply& reply);
  void start_hashing();
  void collect_hashes();
  void settle(FileJob& job, const FileHashes& found);
  void save_states();
  std::string name_of(const FileJob& job) const { return cat(repository_.name.repository(), ": ", job.file.path); }

  HttpClient& client_;
  const Repository& repository_;
  const DownloadOptions& options_;
  std::list<FileJob> jobs_;  // requests in flight point at them
  std::list<Hashing> hashing_;
  std::atomic<bool> stop_{false};
  uint64_t total_ = 0;
  Clock::time_point not_before_{}, saved_ = Clock::now();  // not_before_: the server asked everybody to wait
};

Downloader::~Downloader() {
  stop_ = true;
  client_.stop();
  for (Hashing& hashing : hashing_) hashing.result.wait();
  for (FileJob& job : jobs_) {
    try {
      job.part.save();
    } catch (const std::exception& e) {  // a full disk, most likely: the older state still holds
      log(LogLevel::kDebug, e.what());
    }
  }
}

void Downloader::add(const std::filesystem::path& parts, const RemoteFile& file) {
  jobs_.emplace_back(parts, file, options_.retries);
  total_ += file.size;
}

std::map<std::string, std::string> Downloader::run() {
  const auto is_open = [](const FileJob& job) { return !job.verified(); };
  while (true) {
    uint64_t done = 0;
    for (const FileJob& job : jobs_) done += job.part.done_bytes();
    if (options_.progress) options_.progress(done, total_);
    if (std::none_of(jobs_.begin(), jobs_.end(), is_open)) break;
    start_more();
    start_hashing();
    if (client_.active() == 0 && !hashing_.empty())
      hashing_.front().result.wait_for(kPoll);
    else
      client_.poll(kPoll);
    collect_hashes();
    save_states();
  }
  std::map<std::string, std::string> hashes;
  for (const FileJob& job : jobs_) hashes[job.file.path] = job.part.verified();
  return hashes;
}

void Downloader::start_more() {
  const Clock::time_point now = Clock::now();
  if (now < not_before_) return;
  for (FileJob& job : jobs_)
    while (client_.active() < options_.connections && now >= job.not_before && !job.hashing && !job.verified())
      if (!start_piece(job)) break;
}

/// Asks for the rest of the file's next piece; false: there is none that nobody works on.
bool Downloader::start_piece(FileJob& job) {
  size_t piece = 0;
  while (piece < job.part.pieces() && (job.part.piece_complete(piece) || job.is_active(piece))) ++piece;
  if (piece == job.part.pieces()) return false;
  if (!job.ranges && job.part.done(piece) > 0) job.part.restart(/*one_piece=*/true);
  const uint64_t first = job.part.begin(piece) + job.part.done(piece), end = job.part.end(piece);
  HttpRequest request;
  request.url = file_url(client_.endpoint(), repository_, job.file.path);
  if (first > 0 || end < job.file.size) {
    request.first = first, request.last = end - 1;
    if (job.if_range) request.if_range = job.part.etag();
  }
  const bool ranged = request.first.has_value();
  const uint64_t layout = job.layout;
  const auto is_current = [&job, layout] {
    if (job.layout != layout) throw WholeFileReply();
  };
  request.on_head = [=, this, &job](const HttpReply& reply) {
    is_current();
    if (ranged && reply.status == 200) throw WholeFileReply();
    on_head(job, piece, first, reply);
  };
  request.on_body = [=, &job](std::string_view bytes) {
    is_current();
    job.part.append(piece, bytes);
    if (job.ranges) job.retry.progressed();
  };
  request.on_end = [=, this, &job](const HttpReply& reply) { on_end(job, piece, layout, reply); };
  job.active.push_back(piece);
  client_.start(std::move(request));
  return true;
}

/// Everything that the headers say must fit what the list of files said, before bytes are taken.
void Downloader::on_head(FileJob& job, size_t piece, uint64_t first, const HttpReply& reply) {
  const std::string name = name_of(job);
  const auto wrong = [&](const char* what, const auto& expected, const auto& found) {
    throw Error(cat(name, ": ", what, ": expected ", expected, ", found ", found));
  };
  const auto linked = [&](const char* header) {
    const auto it = reply.linked.find(header);
    return it == reply.linked.end() ? std::string() : it->second;
  };
  if (const std::string size = linked("x-linked-size"); !size.empty() && decimal(size) != job.file.size)
    wrong("size", job.file.size, size);
  std::string tag = linked("x-linked-etag");
  std::erase(tag, '"');
  if (tag.size() == 64 && is_hex_id(tag) && !job.file.sha256.empty() && tag != job.file.sha256)
    wrong("sha256", job.file.sha256, tag);
  if (reply.status == 206) {
    const std::string* header = reply.header("content-range");
    const auto range = header ? content_range(*header) : std::nullopt;
    if (!range || range->first != first || range->last >= job.part.end(piece) ||
        range->total.value_or(job.file.size) != job.file.size)
      wrong("Content-Range", cat("bytes ", first, "-", job.part.end(piece) - 1, "/", job.file.size),
            header ? *header : "none");
  } else if (reply.status != 200) {
    wrong("status", "200 or 206", reply.status);
  } else if (const std::string* length = reply.header("content-length"); length && decimal(*length) != job.file.size) {
    wrong("size", job.file.size, *length);
  }
  const std::string* etag = reply.header("etag");
  if (etag && job.part.etag().empty()) job.part.set_etag(strong_etag(*etag).value_or(""));
}

void Downloader::on_end(FileJob& job, size_t piece, uint64_t layout, const HttpReply& reply) {
  if (job.layout != layout) return;  // of before a restart
  std::erase(job.active, piece);
  if (reply.thrown) {
    try {
      std::rethrow_exception(reply.thrown);
    } catch (const WholeFileReply&) {
      return on_whole_file(job, piece, reply);
    }
  }
  if (job.part.piece_complete(piece)) return;  // whatever broke after the last byte
  HttpReply broken = reply;
  if (reply.problem.empty() && reply.status >= 200 && reply.status < 300) {
    broken.problem = cat("the reply ended after ", job.part.done(piece), " of ",
                         job.part.end(piece) - job.part.begin(piece), " bytes");
    broken.temporary = true;
  }
  const auto wait = job.retry.wait_after(broken, name_of(job), client_, options_.notice);
  (broken.status == 429 || broken.status == 503 ? not_before_ : job.not_before) = Clock::now() + wait;
}

/// The server sent the whole file although a piece was asked for.
void Downloader::on_whole_file(FileJob& job, size_t piece, const HttpReply& reply) {
  const bool has_bytes = job.part.done_bytes() > 0;
  ++job.layout;
  job.active.clear();
  if (!job.part.etag().empty() && job.if_range) {
    // The tag it once gave does not hold (another server behind the same name, or other content): the hash decides
    // what the bytes here are worth, the tag is not asked again.
    job.if_range = false;
    job.part.set_etag("");
    return options_.notice(cat(name_of(job), ": the server's tag of the file has changed; going on without it"));
  }
  if (job.part.piece_complete(piece)) return;
  job.ranges = false;
  job.part.restart(/*one_piece=*/true);
  options_.notice(cat(name_of(job), ": ", shown_url(reply.url),
                      " sends whole files only: ", has_bytes ? "starting over, " : "", "one connection for this file"));
}

void Downloader::start_hashing() {
  for (FileJob& job : jobs_) {
    if (!hashing_.empty()) return;  // one at a time: it competes with the download for the processor
    if (job.verified() || !job.active.empty() || !job.part.complete()) continue;
    job.part.finish();
    const bool git = job.file.sha256.empty();
    if (job.file.size <= kHashedAtOnce) {
      settle(job, hash_file(job.part.path(), git, stop_));
      continue;
    }
    job.hashing = true;
    const auto hash = [this, path = job.part.path(), git] { return hash_file(path, git, stop_); };
    hashing_.push_back({&job, std::async(std::launch::async, hash)});
  }
}

void Downloader::collect_hashes() {
  if (hashing_.empty() || hashing_.front().result.wait_for(std::chrono::seconds(0)) != std::future_status::ready)
    return;
  FileJob& job = *hashing_.front().job;
  const FileHashes found = hashing_.front().result.get();
  hashing_.pop_front();
  job.hashing = false;
  settle(job, found);
}

/// Compares what came with what was promised.
void Downloader::settle(FileJob& job, const FileHashes& found) {
  const bool large = !job.file.sha256.empty();
  const std::string& id = large ? found.sha256 : found.git_oid;
  if (id != job.file.identity()) {
    job.part.remove();
    throw Error(cat(name_of(job), ": ", large ? "sha256" : "git's sha1", ": expected ", job.file.identity(), ", found ",
                    id, "; the file was thrown away"));
  }
  job.part.set_verified(found.sha256);
}

void Downloader::save_states() {
  if (Clock::now() - saved_ < kSaveEvery) return;
  for (FileJob& job : jobs_) job.part.save();
  saved_ = Clock::now();
}

}  // namespace

std::map<std::string, std::string> download(HttpClient& client, const Repository& repository,
                                            const std::vector<RemoteFile>& files, const std::filesystem::path& parts,
                                            const DownloadOptions& options) {
  Downloader downloader(client, repository, options);
  for (const RemoteFile& file : files) downloader.add(parts, file);
  return downloader.run();
}

}  // namespace fathom

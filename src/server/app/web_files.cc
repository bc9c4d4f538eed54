#include "server/app/web_files.h"

#include <zlib.h>

#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "base/hash.h"
#include "server/app/web_data.h"

namespace fathom {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

struct FileType {
  std::string_view suffix, mime;
  bool compress;
};
constexpr FileType kTypes[] = {{".html", "text/html; charset=utf-8", true},
                               {".js", "text/javascript; charset=utf-8", true},
                               {".css", "text/css; charset=utf-8", true},
                               {".json", "application/json", true},
                               {".webmanifest", "application/manifest+json", true},
                               {".txt", "text/plain; charset=utf-8", true},
                               {".svg", "image/svg+xml", true},
                               {".png", "image/png", false},
                               {".woff2", "font/woff2", false}};

constexpr FileType kOther = {"", "application/octet-stream", false};

const FileType& type_of(std::string_view path) {
  const FileType* found = std::ranges::find_if(kTypes, [&](const FileType& t) { return path.ends_with(t.suffix); });
  return found != std::end(kTypes) ? *found : kOther;
}

std::string gzip(std::string_view bytes) {
  z_stream z{};
  check(deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK, "zlib starts");
  std::string out(deflateBound(&z, bytes.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  check(deflate(&z, Z_FINISH) == Z_STREAM_END, "the bound of zlib holds");
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

struct WebFile {
  const WebData* data = nullptr;
  const FileType* type = nullptr;
  std::string etag;    // without its quotes
  std::string zipped;  // empty: not worth it
};

/// Made at the first request for any of them: hashed and compressed once.
const std::vector<WebFile>& files() {
  static const std::vector<WebFile> kFiles = [] {
    std::vector<WebFile> out;
    for (const WebData& data : web_data()) {
      Blake2b256 hash;
      hash.update(data.bytes);
      WebFile file{&data, &type_of(data.path), hash.hex().substr(0, 24), ""};
      if (file.type->compress) file.zipped = gzip(data.bytes);
      if (file.zipped.size() >= data.bytes.size()) file.zipped.clear();
      out.push_back(std::move(file));
    }
    return out;
  }();
  return kFiles;
}

const WebFile* find_file(std::string_view path) {
  if (path == "/") path = "/index.html";
  const auto found = std::ranges::find_if(files(), [&](const WebFile& f) { return f.data->path == path; });
  return found == files().end() ? nullptr : &*found;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Calls `use` with each word between commas until it says true; whether it did.
template <typename Use>
bool any_word(std::string_view list, const Use& use) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (use(trimmed(list.substr(0, comma)))) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool takes_gzip(const HttpServerRequest& request) {
  const auto accepted = request.header("Accept-Encoding");
  return accepted && any_word(*accepted, [](std::string_view word) {
           const size_t semicolon = std::min(word.find(';'), word.size());
           const std::string_view weight = trimmed(word.substr(std::min(semicolon + 1, word.size())));
           const bool refused = weight == "q=0" || weight == "q=0.0" || weight == "q=0.00" || weight == "q=0.000";
           return trimmed(word.substr(0, semicolon)) == "gzip" && !refused;
         });
}

bool has_already(const HttpServerRequest& request, std::string_view etag) {
  const auto known = request.header("If-None-Match");
  return known && any_word(*known, [&](std::string_view word) {
           if (word.starts_with("W/")) word.remove_prefix(2);
           return word == etag || word == "*";
         });
}

}  // namespace

bool is_web_file(std::string_view path) { return find_file(path) != nullptr; }

bool send_web_file(const HttpServerRequest& request, Responder& responder) {
  if (request.method != "GET" && request.method != "HEAD") return false;
  const WebFile* file = find_file(request.path);
  if (!file) return false;
  const bool zip = !file->zipped.empty() && takes_gzip(request);
  const std::string etag = cat("\"", file->etag, zip ? "-gzip\"" : "\"");
  HttpHeaders headers = {
      {"ETag", etag},
      {"Cache-Control", file->data->path.starts_with("/assets/") ? "public, max-age=31536000, immutable" : "no-cache"},
      {"X-Content-Type-Options", "nosniff"},
      {"Referrer-Policy", "no-referrer"},
      {"Content-Security-Policy", std::string(kPolicy)}};
  if (!file->zipped.empty()) headers.emplace_back("Vary", "Accept-Encoding");
  if (has_already(request, etag)) {
    responder.send(304, file->type->mime, "", std::move(headers));
    return true;
  }
  if (zip) headers.emplace_back("Content-Encoding", "gzip");
  responder.send(200, file->type->mime, zip ? file->zipped : std::string(file->data->bytes), std::move(headers));
  return true;
}

}  // namespace fathom

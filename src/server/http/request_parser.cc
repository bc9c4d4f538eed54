#include "server/http/request_parser.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace fathom::http {
namespace {

constexpr size_t kLongestMethod = 32;
constexpr size_t kLongestChunkLine = 256;
constexpr size_t kMostExtensionBytes = 4096;  // of all chunks together
// Two of these could be understood differently by two readers.
constexpr std::array kSingles = {"Host",   "Content-Length", "Transfer-Encoding", "Content-Type", "Content-Encoding",
                                 "Origin", "Expect",         "Authorization",     "X-Api-Key"};

/// The characters of methods and of header names. Source: RFC 9110 section 5.6.2.
bool is_token(std::string_view text) {
  const auto in_token = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), in_token);
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7F; });
}

/// A name of the client's, fit for a message.
std::string shown(std::string_view text) { return cat("\"", text.substr(0, 60), text.size() > 60 ? "...\"" : "\""); }

/// All of `text` as a number; nullopt where it is not digits only. Saturates.
std::optional<uint64_t> number(std::string_view text, int base) {
  uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value, base);
  if (text.empty() || stop != end || text[0] == '-') return std::nullopt;
  return error == std::errc::result_out_of_range ? UINT64_MAX : value;
}

}  // namespace

size_t RequestParser::feed(std::string_view bytes) {
  const bool in_head = !head_done();
  size_t used = 0;
  while (used < bytes.size() && !done() && head_done() != in_head) {
    const std::string_view rest = bytes.substr(used);
    used += state_ == State::kFixedBody || state_ == State::kChunkData ? take_body(rest) : take_line(rest);
  }
  return used;
}

/// Completes the current line, or takes all bytes if its end is not among them.
size_t RequestParser::take_line(std::string_view bytes) {
  const size_t end = bytes.find('\n');
  const size_t used = end == std::string_view::npos ? bytes.size() : end + 1;
  line_ += bytes.substr(0, used);
  if (state_ == State::kChunkSize || state_ == State::kChunkEnd) {
    if (line_.size() > kLongestChunkLine) throw Refused(400, "the chunked body: a chunk's first line is too long");
  } else {
    head_bytes_ += used;
    if (head_bytes_ > limits_.header_bytes)
      throw Refused(state_ == State::kRequestLine ? 414 : 431,
                    cat("the request's head: expected at most ", limits_.header_bytes, " bytes"));
    // What begins a TLS connection, or is no HTTP at all, is refused at its first byte.
    if (state_ == State::kRequestLine && line_[0] != '\r' && !is_token(std::string_view(line_).substr(0, 1)))
      throw Refused(400, "the request: expected HTTP/1.1");
  }
  if (end == std::string_view::npos) return used;
  if (!line_.ends_with("\r\n"))
    throw Refused(400, "the request: expected CR LF at the end of each line, found LF alone");
  std::string line;
  line.swap(line_);
  on_line(std::string_view(line).substr(0, line.size() - 2));
  return used;
}

void RequestParser::on_line(std::string_view line) {
  switch (state_) {
    case State::kRequestLine:
      if (!line.empty()) return on_request_line(line);
      // Some clients end a body with an empty line that no length counts: RFC 9112 section 2.2.
      if (head_bytes_ > 8) throw Refused(400, "the request: begins with empty lines");
      return;
    case State::kHeaders: return line.empty() ? on_head_end() : on_field(line);
    case State::kTrailer:
      if (!line.empty()) return on_field(line);
      state_ = State::kDone;
      return;
    case State::kChunkSize: return on_chunk_size(line);
    case State::kChunkEnd:
      if (!line.empty()) throw Refused(400, "the chunked body: a chunk is longer than its size says");
      state_ = State::kChunkSize;
      return;
    default: check(false, "a line where none is read");
  }
}

void RequestParser::on_request_line(std::string_view line) {
  const size_t first = line.find(' '), last = line.rfind(' ');
  const std::string_view method = line.substr(0, first);
  if (first == last || !is_token(method) || method.size() > kLongestMethod)
    throw Refused(400, "the request line: expected METHOD, target and HTTP/1.1, one space between them");
  const std::string_view version = line.substr(last + 1);
  if (version == "HTTP/1.0")
    minor_ = 0;
  else if (version != "HTTP/1.1")
    throw Refused(version.starts_with("HTTP/") && !has_control(version) ? 505 : 400,
                  "the request line: expected HTTP/1.1 or HTTP/1.0");
  Target target = parse_target(method, line.substr(first + 1, last - first - 1));
  request_.method = method;
  request_.path = std::move(target.path);
  request_.query = std::move(target.query);
  host_ = std::move(target.authority);
  state_ = State::kHeaders;
}

/// A header's line, or a trailer's, which is checked and forgotten.
void RequestParser::on_field(std::string_view line) {
  if (++fields_ > limits_.headers)
    throw Refused(431, cat("the request: expected at most ", limits_.headers, " headers"));
  if (line[0] == ' ' || line[0] == '\t') throw Refused(400, "the request: a header goes on in a second line");
  const size_t colon = line.find(':');
  const std::string_view name = line.substr(0, colon);
  if (colon == std::string_view::npos || !is_token(name))
    throw Refused(400, "the request: expected a header's name, a colon right behind it and its value");
  const std::string_view value = trimmed(line.substr(colon + 1), kBlank);
  if (has_control(value)) throw Refused(400, cat("the header ", shown(name), ": has a control character"));
  if (state_ == State::kHeaders) request_.headers.emplace_back(name, value);
}

std::optional<std::string_view> RequestParser::single(std::string_view name) const {
  std::optional<std::string_view> found;
  for (const auto& [key, value] : request_.headers) {
    if (!same_letters(key, name)) continue;
    if (found) throw Refused(400, cat("the header ", name, ": expected it once"));
    found = value;
  }
  return found;
}

void RequestParser::on_head_end() {
  for (const char* name : kSingles) (void)single(name);
  const auto host = single("Host");
  if (!host && !http10()) throw Refused(400, "the request: expected a Host header");
  if (host && !valid_host(*host)) throw Refused(400, "the header Host: expected a name, and maybe a port");
  if (host && host_.empty()) host_ = *host;

  keep_alive_ = !http10();
  for (const auto& [key, value] : request_.headers) {
    if (!same_letters(key, "Connection")) continue;
    if (has_word(value, "close")) keep_alive_ = false;
    if (http10() && has_word(value, "keep-alive")) keep_alive_ = true;
  }
  if (const auto expect = single("Expect"); expect && !http10()) {
    if (!same_letters(*expect, "100-continue")) throw Refused(417, "the header Expect: expected 100-continue");
    expects_continue_ = true;
  }

  const auto length = single("Content-Length"), coding = single("Transfer-Encoding");
  if (coding) {
    if (length) throw Refused(400, "the request: expected Content-Length or Transfer-Encoding, found both");
    if (http10()) throw Refused(400, "the header Transfer-Encoding: HTTP/1.0 has none");
    if (!same_letters(*coding, "chunked")) throw Refused(400, "the header Transfer-Encoding: expected chunked");
    state_ = State::kChunkSize;
    return;
  }
  if (length) {
    const auto size = std::all_of(length->begin(), length->end(), [](char c) { return c >= '0' && c <= '9'; })
                          ? number(*length, 10)
                          : std::nullopt;
    if (!size) throw Refused(400, cat("the header Content-Length: expected digits, found ", shown(*length)));
    if (*size > limits_.body_bytes)
      throw Refused(413, cat("the body: expected at most ", limits_.body_bytes, " bytes, found ", shown(*length)));
    left_ = *size;
  }
  state_ = left_ ? State::kFixedBody : State::kDone;
}

void RequestParser::on_chunk_size(std::string_view line) {
  const std::string_view digits = line.substr(0, line.find(';'));
  const auto size = digits.size() <= 16 ? number(digits, 16) : std::nullopt;
  if (!size) throw Refused(400, cat("the chunked body: expected a chunk's size in hexadecimal, found ", shown(digits)));
  extension_bytes_ += line.size() - digits.size();
  if (has_control(line) || extension_bytes_ > kMostExtensionBytes)
    throw Refused(400, "the chunked body: too many chunk extensions, or one with a control character");
  if (*size > limits_.body_bytes - request_.body.size())
    throw Refused(413, cat("the body: expected at most ", limits_.body_bytes, " bytes"));
  left_ = *size;
  state_ = left_ ? State::kChunkData : State::kTrailer;
}

size_t RequestParser::take_body(std::string_view bytes) {
  const size_t used = static_cast<size_t>(std::min<uint64_t>(left_, bytes.size()));
  request_.body += bytes.substr(0, used);  // grows as bytes come: an announced length reserves nothing
  left_ -= used;
  if (left_ == 0) state_ = state_ == State::kFixedBody ? State::kDone : State::kChunkEnd;
  return used;
}

}  // namespace fathom::http

namespace fathom {

std::optional<std::string_view> HttpServerRequest::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (http::same_letters(key, name)) return value;
  return std::nullopt;
}

}  // namespace fathom

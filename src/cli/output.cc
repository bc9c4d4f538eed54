#include "cli/output.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>

#include "base/error.h"

namespace fathom {

void print_out(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {  // somebody made the terminal or pipe non-blocking
      pollfd out{STDOUT_FILENO, POLLOUT, 0};
      poll(&out, 1, -1);
    } else if (errno != EINTR) {
      throw Error(cat("standard output: could not write: ", std::strerror(errno)));
    }
  }
}

void print_err(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

std::optional<std::string> read_line(std::istream& in, std::string_view what, size_t limit) {
  std::string line;
  std::streambuf& buffer = *in.rdbuf();
  constexpr int kEnd = std::char_traits<char>::eof();
  int c = buffer.sbumpc();
  if (c == kEnd) return std::nullopt;
  for (; c != kEnd && c != '\n'; c = buffer.sbumpc()) {
    if (line.size() == limit) {
      while (c != kEnd && c != '\n') c = buffer.sbumpc();
      throw Error(cat(what, ": expected a line of at most ", limit, " bytes, found a longer one"));
    }
    line += static_cast<char>(c);
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

std::string read_all(std::istream& in, std::string_view what, size_t limit) {
  std::string text;
  char block[1 << 16];
  while (in.read(block, sizeof block), in.gcount() > 0) {
    text.append(block, static_cast<size_t>(in.gcount()));
    if (text.size() > limit) throw Error(cat(what, ": expected at most ", limit, " bytes, found more"));
  }
  return text;
}

int answer_json_lines(std::istream& in, const std::function<json::object(const json::value&)>& f) {
  int status = 0;
  for (size_t number = 1;; ++number) {
    json::object out;
    try {
      const std::string what = cat("line ", number);
      const std::optional<std::string> line = read_line(in, what);
      if (!line) return status;
      out = f(parse_json(*line, what));
    } catch (const Error& e) {
      out = {{"error", e.what()}};
      status = 1;
    }
    print_out(to_json(out) + "\n");
  }
}

int with_input(const std::string& file, const std::function<int(std::istream&)>& f) {
  if (file.empty() || file == "-") return f(std::cin);
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(file)) throw Error(cat(file, ": expected a readable file, found none"));
  return f(in);
}

std::vector<int32_t> ids_from_json(const json::value& value, std::string_view what) {
  const json::array* list = value.if_array();
  if (!list) throw Error(cat(what, ": expected a list of token ids, found another kind of value"));
  std::vector<int32_t> ids;
  for (const json::value& id : *list) {
    const int64_t* number = id.if_int64();
    if (!number || *number < 0 || *number > INT32_MAX)
      throw Error(cat(what, ": expected token ids from 0 to ", INT32_MAX, ", found ", to_json(id)));
    ids.push_back(static_cast<int32_t>(*number));
  }
  return ids;
}

}  // namespace fathom

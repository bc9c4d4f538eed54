#include "server/http/multipart.h"

#include <algorithm>

#include "base/error.h"
#include "base/trimmed.h"
#include "server/http/target.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr std::string_view kBlanks = " \t";
constexpr size_t kMostParts = 32, kMostHead = size_t{16} << 10;

/// The parameter `key` of a header's value ("form-data; name=\"a\"; filename=b"); "": it has none.
std::string parameter(std::string_view value, std::string_view key) {
  size_t at = value.find(';');
  while (at != std::string_view::npos) {
    const size_t equals = value.find('=', at);
    if (equals == std::string_view::npos) return "";
    const std::string_view name = trimmed(value.substr(at + 1, equals - at - 1), kBlanks);
    std::string text;
    size_t end = equals + 1;
    if (end < value.size() && value[end] == '"') {
      for (++end; end < value.size() && value[end] != '"'; ++end) {
        if (value[end] == '\\' && end + 1 < value.size() && (value[end + 1] == '"' || value[end + 1] == '\\')) ++end;
        text += value[end];
      }
      end = value.find(';', end);
    } else {
      end = value.find(';', end);
      text = trimmed(value.substr(equals + 1, end == std::string_view::npos ? end : end - equals - 1), kBlanks);
    }
    if (http::same_letters(name, key)) return text;
    at = end;
  }
  return "";
}

/// A name that can be shown and that names no folder.
std::string plain_filename(const std::string& given) {
  std::string name = utf8_lossy(given.substr(given.find_last_of("/\\") + 1));
  std::erase_if(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (name.size() > 255) name = utf8_lossy(name.substr(0, 252));
  return name.empty() ? "file" : name;
}

FormPart read_head(std::string_view head) {
  FormPart part;
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) throw Error("the form: expected headers in front of a part");
    if (!http::same_letters(trimmed(line.substr(0, colon), kBlanks), "content-disposition")) continue;
    const std::string_view value = line.substr(colon + 1);
    part.name = parameter(value, "name");
    if (const std::string filename = parameter(value, "filename"); !filename.empty())
      part.filename = plain_filename(filename);
  }
  if (part.name.empty()) throw Error("the form: expected a name for each part");
  return part;
}

}  // namespace

std::vector<FormPart> parse_form(std::string_view content_type, std::string_view body) {
  if (!http::same_letters(trimmed(content_type.substr(0, content_type.find(';')), kBlanks), "multipart/form-data"))
    throw Error("the body: expected multipart/form-data");
  const std::string boundary = parameter(content_type, "boundary");
  if (boundary.empty() || boundary.size() > 70) throw Error("the form: expected a boundary of 1 to 70 characters");
  const std::string mark = "--" + boundary, between = "\r\n" + mark;
  const auto broken = [] { return Error("the form: expected parts between its boundaries"); };
  size_t at = body.starts_with(mark) ? 0 : body.find(between);
  if (at == std::string_view::npos) throw broken();
  at += at == 0 && body.starts_with(mark) ? mark.size() : between.size();
  std::vector<FormPart> parts;
  while (!body.substr(at).starts_with("--")) {
    if (parts.size() == kMostParts) throw Error(cat("the form: expected at most ", kMostParts, " parts"));
    const size_t line = body.find("\r\n", at);
    if (line == std::string_view::npos || !trimmed(body.substr(at, line - at), kBlanks).empty()) throw broken();
    const size_t head_end = body.find("\r\n\r\n", line);
    if (head_end == std::string_view::npos || head_end - line > kMostHead) throw broken();
    FormPart part = read_head(head_end > line + 2 ? body.substr(line + 2, head_end - line - 2) : "");
    const size_t end = body.find(between, head_end + 2);
    if (end == std::string_view::npos || end < head_end + 2) throw broken();
    part.content = end > head_end + 4 ? body.substr(head_end + 4, end - head_end - 4) : "";
    parts.push_back(std::move(part));
    at = end + between.size();
  }
  // Behind the end its line has nothing more: else it is a line of a file, which would be cut off there.
  const std::string_view behind = body.substr(at + 2);
  if (!trimmed(behind.substr(0, behind.find("\r\n")), kBlanks).empty()) throw broken();
  return parts;
}

}  // namespace fathom

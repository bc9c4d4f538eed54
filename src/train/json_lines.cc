#include "train/json_lines.h"

#include "base/error.h"
#include "base/mapped_file.h"

namespace fathom {

void for_each_json_line(const std::filesystem::path& path,
                        FunctionRef<void(const JsonObject& line, uint64_t bytes)> f) {
  const InputFile file(path);
  if (file.size() == 0) return;
  const MappedFile mapped(file);
  const std::string_view text(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  size_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string what = cat(path.string(), ":", number);
    const json::value value = parse_json(line, what);
    f(JsonObject(value, what), std::min(begin, text.size()));
  }
}

}  // namespace fathom

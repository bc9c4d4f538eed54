#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "hub/model_folder.h"

namespace fathom {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMostRecordBytes = uint64_t{64} << 20;

PulledFile file_of(const json::value& value, const std::string& what) {
  const JsonObject entry(value, what);
  PulledFile file{entry.string("path"), 0, entry.string_or("sha256", ""), entry.string_or("git_oid", ""),
                  entry.string_or("commit", "")};
  if (const std::string problem = path_problem(file.path); !problem.empty())
    throw Error(cat(what, ": path: expected one that stays in the folder, found ", problem));
  const int64_t size = entry.integer("size");
  if (size < 0) throw Error(cat(what, ": ", file.path, ": size: expected no negative number, found ", size));
  file.size = static_cast<uint64_t>(size);
  return file;
}

}  // namespace

const PulledFile* PullRecord::find(const std::string& path) const {
  const auto it = std::find_if(files.begin(), files.end(), [&](const PulledFile& f) { return f.path == path; });
  return it == files.end() ? nullptr : &*it;
}

std::string PullRecord::to_text() const {
  json::array list;
  for (const PulledFile& file : files) {
    json::object entry{{"path", file.path}, {"size", file.size}, {"sha256", file.sha256}, {"commit", file.commit}};
    if (!file.git_oid.empty()) entry["git_oid"] = file.git_oid;
    list.push_back(std::move(entry));
  }
  const json::object out{{"format", "fathom.pull"},  {"version", 1},         {"endpoint", endpoint},
                         {"repository", repository}, {"revision", revision}, {"commit", commit},
                         {"files", std::move(list)}};
  return to_json(out, {.indent = 2}) + "\n";
}

std::optional<PullRecord> PullRecord::read(const fs::path& file) {
  std::error_code error;
  if (!fs::exists(file, error)) return std::nullopt;
  const json::value value = parse_json(read_text_file(file, kMostRecordBytes), file.string());
  const JsonObject object(value, file.string());
  if (object.string("format") != "fathom.pull" || object.integer("version") != 1)
    throw Error(cat(file.string(), ": expected format fathom.pull, version 1, found another"));
  PullRecord record{
      object.string("endpoint"), object.string("repository"), object.string("revision"), object.string("commit"), {}};
  for (const json::value& entry : object.array("files")) record.files.push_back(file_of(entry, file.string()));
  return record;
}

}  // namespace fathom

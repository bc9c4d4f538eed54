#include "formats/model_header.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "formats/absent_file.h"
#include "formats/config_json.h"
#include "formats/json_file.h"
#include "formats/mapped_checkpoint.h"
#include "formats/model_header_files.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using State = ModelFile::State;

constexpr size_t kMaxShards = 99999;  // of the five digits in the name

std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (std::error_code ignored; !entry.is_directory(ignored)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

void add_shard(const fs::path& path, std::string_view role, ModelHeader& out) {
  std::error_code ignored;
  const State state = fs::exists(path, ignored) ? State::kBroken : State::kMissing;
  add_file_or_problem(out, path, state, [&] {
    require_present(path, role);
    add_safetensors_header(path, out);
  });
}

/// The shards that the index names; each of its tensors must be in one of them.
void add_indexed(const fs::path& folder, const fs::path& index, ModelHeader& out) {
  const std::map<std::string, std::string> weight_map = read_weight_map(index);
  const json::value root = read_bounded_json(index, uint64_t{64} << 20);
  if (const json::value* meta = root.get_object().if_contains("metadata"); meta && meta->is_object())
    if (const json::value* size = meta->get_object().if_contains("total_size"); size && size->is_int64())
      out.indexed_bytes = std::max<int64_t>(size->get_int64(), 0);
  std::set<std::string> names;
  for (const auto& [tensor, file] : weight_map) names.insert(file);
  size_t number = 0;
  for (const std::string& name : names) add_shard(folder / name, cat("shard ", ++number, " of ", names.size()), out);
  std::set<std::string_view> here;
  for (const HeaderTensor& t : out.tensors) here.insert(t.info.name);
  for (const auto& [tensor, file] : weight_map) out.absent_tensors += here.count(tensor) == 0;
  if (out.absent_tensors && out.files_here() == out.files.size())
    out.problems.push_back(cat(index.string(), ": names ", out.absent_tensors, " tensors that no shard has"));
}

/// The count in NAME-00001-of-00003.safetensors; 0 for another name.
size_t shard_count(const std::string& name) {
  const size_t at = name.find("-of-");
  size_t count = 0;
  if (at != std::string::npos) std::from_chars(name.data() + at + 4, name.data() + name.size(), count);
  return count <= kMaxShards ? count : 0;
}

/// Without an index: whatever is there, and what the names say of the rest.
void add_unindexed(const fs::path& folder, ModelHeader& out) {
  std::string unfinished, pickle;
  size_t shards = 0;
  for (const fs::path& path : files_of(folder)) {
    const std::string name = path.filename().string();
    if (path.extension() == ".safetensors") {
      add_shard(path, "the weights' file", out);
      shards = std::max(shards, shard_count(name));
    } else if (is_unfinished(path)) {
      unfinished = name;
    } else if (is_pickle(path)) {
      pickle = name;
    }
  }
  if (!unfinished.empty()) out.problems.push_back(cat("still downloading: ", unfinished));
  if (shards) out.problems.push_back("model.safetensors.index.json is missing");
  if (shards > out.files.size())
    out.problems.push_back(cat(shards - out.files.size(), " of ", shards, " shards are missing"));
  if (!out.files.empty()) return;
  if (!pickle.empty())
    out.problems.push_back(cat(pickle, ": pickled weights are not read, since loading them can run code"));
  add_shard(folder / "model.safetensors", "the weights' file", out);
}

/// A file's kind by its first bytes, since an unfinished file may have any name.
bool is_gguf(const InputFile& file) {
  char magic[4] = {};
  if (file.size() >= sizeof magic) file.read(0, magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}
bool is_safetensors(const InputFile& file) {
  char first = 0;
  if (file.size() > 8) file.read(8, &first, 1);
  return first == '{';
}

}  // namespace

void judge_length(ModelFile& file) {
  if (file.size_bytes < file.needed_bytes) {
    file.state = State::kUnfinished;
    file.problem = cat(file.path.string(), ": has ", file.size_bytes, " of ", file.needed_bytes,
                       " bytes: still downloading, or cut off");
  } else if (is_unfinished(file.path)) {
    file.state = State::kUnfinished;
    file.problem = cat(file.path.string(), ": still downloading (by its name)");
  }
}

void read_folder_header(const fs::path& folder, ModelHeader& out) {
  out.kind = ModelHeader::Kind::kFolder;
  out.format = "Hugging Face folder";
  const fs::path config = folder / "config.json";
  if (fs::exists(config)) {
    out.config_json = read_bounded_json(config);
    const JsonObject object(out.config_json, config.string());
    try {
      out.config = config_from_json(object);
    } catch (const Error& e) {
      out.config_problem = e.what();
    }
  } else {
    out.config_problem = cat(config.string(), ": the model's configuration is missing");
    out.problems.push_back(out.config_problem);
  }
  if (fs::exists(folder / "model.safetensors"))
    add_shard(folder / "model.safetensors", "the weights' file", out);
  else if (fs::exists(folder / "model.safetensors.index.json"))
    add_indexed(folder, folder / "model.safetensors.index.json", out);
  else
    add_unindexed(folder, out);
  // config.json names MTP modules that some copies of a checkpoint leave out.
  if (out.config && out.complete() && !out.find(cat("model.layers.", out.config->num_hidden_layers, ".eh_proj.weight")))
    out.config->num_nextn_predict_layers = 0;
}

bool ModelHeader::complete() const {
  return problems.empty() &&
         std::all_of(files.begin(), files.end(), [](const ModelFile& f) { return f.state == State::kWhole; });
}

size_t ModelHeader::files_here() const {
  return static_cast<size_t>(
      std::count_if(files.begin(), files.end(), [](const ModelFile& f) { return f.header_bytes != 0; }));
}

const HeaderTensor* ModelHeader::find(std::string_view name) const {
  const auto it =
      std::find_if(tensors.begin(), tensors.end(), [&](const HeaderTensor& t) { return t.info.name == name; });
  return it == tensors.end() ? nullptr : &*it;
}

ModelHeader read_model_header(const fs::path& path) {
  ModelHeader out;
  out.path = path;
  require_present(path, "the model");
  if (fs::is_directory(path)) {
    read_folder_header(path, out);
    return out;
  }
  refuse_pickle(path);
  const InputFile file(path);
  if (is_gguf(file)) {
    read_gguf_header(path, out);
  } else if (is_safetensors(file)) {
    out.kind = ModelHeader::Kind::kSafetensors;
    out.format = "safetensors file";
    out.config_problem = "a safetensors file alone has no configuration: give the model's folder";
    add_safetensors_header(path, out);
  } else {
    if (is_unfinished(path)) throw Error(cat(path.string(), ": still downloading: its header is not here yet"));
    throw Error(
        cat(path.string(), ": expected a GGUF file, a safetensors file or a model's folder, found other bytes"));
  }
  return out;
}

}  // namespace fathom

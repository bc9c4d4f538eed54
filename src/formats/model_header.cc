#include "formats/model_header.h"

#include <algorithm>
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

/// Tensors that are in two shards, or in another than the index says: the reader of weights refuses both.
void check_between_shards(const std::map<std::string, std::string>& weight_map, const fs::path& index,
                          ModelHeader& out) {
  std::map<std::string_view, size_t> here;  // -> index in files
  for (const HeaderTensor& t : out.tensors)
    if (!here.emplace(t.info.name, t.file).second)
      out.problems.push_back(cat("tensor ", printable(t.info.name), " is in two shards"));
  size_t misplaced = 0;
  for (const auto& [tensor, file] : weight_map) {
    const auto it = here.find(tensor);
    out.absent_tensors += it == here.end();
    misplaced += it != here.end() && out.files[it->second].path.filename() != file;
  }
  if (misplaced)
    out.problems.push_back(cat(index.string(), ": ", misplaced, " tensors are in another shard than it says"));
  if (out.absent_tensors && out.files_here() == out.files.size())
    out.problems.push_back(cat(index.string(), ": names ", out.absent_tensors, " tensors that no shard has"));
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
  if (names.empty()) throw Error(cat(index.string(), ": weight_map: expected files, found none"));
  size_t number = 0;
  for (const std::string& name : names) add_shard(folder / name, cat("shard ", ++number, " of ", names.size()), out);
  check_between_shards(weight_map, index, out);
}

/// The parts of NAME-00001-of-00003.safetensors, which is built as the names of split GGUF models are.
std::optional<GgufSplitName> shard_name(const fs::path& path) {
  return gguf_split_name(path.stem().string() + ".gguf");
}

/// The shards that are not there, by the names of those that are.
void add_missing_shards(const std::set<fs::path>& shards, ModelHeader& out) {
  if (shards.empty()) return;
  const GgufSplitName name = *shard_name(*shards.begin());
  for (uint64_t number = 1; number <= name.count; ++number) {
    const fs::path shard =
        gguf_part_path(shards.begin()->parent_path(), name, number).replace_extension(".safetensors");
    if (!shards.count(shard)) add_shard(shard, cat("shard ", number, " of ", name.count), out);
  }
}

/// Without an index that can be read: whatever is there, and what the names say of the rest.
void add_unindexed(const fs::path& folder, ModelHeader& out) {
  std::string unfinished, pickle;
  std::set<fs::path> shards;
  for (const fs::path& path : files_of(folder)) {
    const std::string name = path.filename().string();
    if (path.extension() == ".safetensors") {
      add_shard(path, "the weights' file", out);
      if (shard_name(path)) shards.insert(path);
    } else if (is_unfinished(path)) {
      unfinished = name;
    } else if (is_pickle(path)) {
      pickle = name;
    }
  }
  if (!unfinished.empty()) out.problems.push_back(cat("still downloading: ", unfinished));
  if (const fs::path index = folder / "model.safetensors.index.json"; !shards.empty() && !is_there(index))
    out.problems.push_back(cat(index.string(), " is missing"));
  add_missing_shards(shards, out);
  if (!out.files.empty()) return;
  if (!pickle.empty())
    out.problems.push_back(cat(pickle, ": pickled weights are not read, since loading them can run code"));
  add_shard(folder / "model.safetensors", "the weights' file", out);
}

/// False: the index cannot be read, which is now one of the problems.
bool add_indexed_or_problem(const fs::path& folder, const fs::path& index, ModelHeader& out) {
  try {
    add_indexed(folder, index, out);
    return true;
  } catch (const Error& e) {
    out.problems.push_back(e.what());
    return false;
  }
}

/// config.json; a folder without one, or with a broken one, is shown all the same.
void read_folder_config(const fs::path& path, ModelHeader& out) {
  try {
    require_present(path, "the model's configuration");
    out.config_json = read_bounded_json(path);
    const JsonObject object(out.config_json, path.string());  // throws if it is no object
    try {
      out.config = config_from_json(object);
    } catch (const Error& e) {
      out.config_problem = e.what();
    }
  } catch (const Error& e) {
    out.config_json = nullptr;
    out.config_problem = e.what();
    out.problems.push_back(out.config_problem);
  }
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
  read_folder_config(folder / "config.json", out);
  const fs::path single = folder / "model.safetensors", index = folder / "model.safetensors.index.json";
  if (is_there(single))
    add_shard(single, "the weights' file", out);
  else if (!is_there(index) || !add_indexed_or_problem(folder, index, out))
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
    refuse_foreign(file);
    throw Error(
        cat(path.string(), ": expected a GGUF file, a safetensors file or a model's folder, found other bytes"));
  }
  return out;
}

}  // namespace fathom

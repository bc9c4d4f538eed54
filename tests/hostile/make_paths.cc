// L9: names that lead out of the folder, and links to what is no file. A link to a file is fine: the hub's cache is
// made of them.
#include <sys/stat.h>

#include "base/error.h"
#include "base/json.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

/// The tiny folder with an index that names `file` for one tensor instead of model.safetensors.
HostileCase shard_case(std::string name, std::string file, std::function<void(const fs::path&)> more = {}) {
  const auto make = [=](const fs::path& folder) {
    Files files = tiny_folder();
    files.erase("model.safetensors");
    files["model.safetensors.index.json"] =
        to_json(json::object{{"weight_map", json::object{{"model.norm.weight", file}}}});
    write_files(folder, files);
    if (more) more(folder);
  };
  return {std::move(name), make, "."};
}

/// The tiny folder, one of its files replaced by what `place` puts there.
HostileCase replaced_case(std::string name, std::string file, std::function<void(const fs::path&)> place) {
  const auto make = [=](const fs::path& folder) {
    write_files(folder, tiny_folder());
    fs::remove(folder / file);
    place(folder / file);
  };
  return {std::move(name), make, "."};
}

void link_to(const fs::path& target, const fs::path& path) { fs::create_symlink(target, path); }
void make_pipe(const fs::path& path) { check(::mkfifo(path.c_str(), 0600) == 0, "no pipe for a test"); }
void make_circle(const fs::path& path) { link_to(path.filename(), path); }
void link_to_zeros(const fs::path& path) { link_to("/dev/zero", path); }
void make_folder(const fs::path& path) { fs::create_directory(path); }

std::string safetensors_of(const std::string& tensor) {
  return safetensors_bytes(cat("{\"", tensor, R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})"), "abcd");
}

}  // namespace

std::vector<HostileCase> path_cases() {
  std::vector<HostileCase> out = {
      shard_case("L9_shard_above", "../model.safetensors"),
      shard_case("L9_shard_far_above", "../../../../../../etc/passwd"),
      shard_case("L9_shard_absolute", "/etc/passwd"),
      shard_case("L9_shard_in_a_folder", "sub/model.safetensors"),
      shard_case("L9_shard_dots", ".."),
      shard_case("L9_shard_dot", "."),
      shard_case("L9_shard_nameless", ""),
      shard_case("L9_shard_ends_early", std::string("a.safetensors\0b", 15)),
      shard_case("L9_shard_of_a_long_name", std::string(300, 'a')),
      shard_case("L9_shard_missing", "model-00001-of-00001.safetensors"),
      shard_case("L9_shard_unfinished", "s.safetensors",
                 [](const fs::path& f) { put(f / "s.safetensors.incomplete", "x"); }),
      shard_case("L9_shard_is_a_pipe", "s.safetensors", [](const fs::path& f) { make_pipe(f / "s.safetensors"); }),
      shard_case("L9_shard_is_a_device", "s.safetensors",
                 [](const fs::path& f) { link_to_zeros(f / "s.safetensors"); }),
      shard_case("L9_shard_is_a_folder", "s.safetensors", [](const fs::path& f) { make_folder(f / "s.safetensors"); }),
      shard_case("L9_shard_turns_in_a_circle", "s.safetensors",
                 [](const fs::path& f) { make_circle(f / "s.safetensors"); }),
      shard_case("L9_shard_lacks_its_tensor", "s.safetensors",
                 [](const fs::path& f) { put(f / "s.safetensors", safetensors_of("other")); }),
      folder_case("L9_shards_repeat_a_tensor",
                  [](Files& files) {
                    files.erase("model.safetensors");
                    files["a.safetensors"] = files["b.safetensors"] = safetensors_of("w");
                    files["model.safetensors.index.json"] =
                        R"({"weight_map":{"w":"a.safetensors","v":"b.safetensors"}})";
                  }),
      folder_case("L9_index_is_empty",
                  [](Files& files) {
                    files.erase("model.safetensors");
                    files["model.safetensors.index.json"] = R"({"weight_map":{}})";
                  }),
      folder_case("L9_index_names_numbers",
                  [](Files& files) {
                    files.erase("model.safetensors");
                    files["model.safetensors.index.json"] = R"({"weight_map":{"w\u001b[2J":7}})";
                  }),
      {"L9_gguf_is_a_pipe", [](const fs::path& folder) { make_pipe(folder / "model.gguf"); }},
      {"L9_gguf_is_a_device", [](const fs::path& folder) { link_to_zeros(folder / "model.gguf"); }},
      {"L9_gguf_turns_in_a_circle", [](const fs::path& folder) { make_circle(folder / "model.gguf"); }},
      {"L9_part_is_a_pipe",
       [](const fs::path& folder) {
         put(folder / "m-00001-of-00002.gguf", TinyGguf().builder().key("split.count", 2u).bytes());
         make_pipe(folder / "m-00002-of-00002.gguf");
       },
       "m-00001-of-00002.gguf"},
  };
  for (const char* file :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"}) {
    const std::string stem = fs::path(file).stem();
    out.push_back(replaced_case(cat("L9_", stem, "_is_a_pipe"), file, make_pipe));
    out.push_back(replaced_case(cat("L9_", stem, "_is_a_device"), file, link_to_zeros));
    out.push_back(replaced_case(cat("L9_", stem, "_is_a_folder"), file, make_folder));
    out.push_back(replaced_case(cat("L9_", stem, "_turns_in_a_circle"), file, make_circle));
  }
  return out;
}

}  // namespace fathom::testing

// L7: pickles, archives and other things under a model's name. None is parsed; each is named.
#include "base/error.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

/// What torch.save wrote before it made zip archives: a pickled magic number, protocol 2.
const std::string kLegacyTorch("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.");
/// A pickle of protocol 4 that would run a command.
const std::string kPickle =
    std::string("\x80\x04\x95\x1f\0\0\0\0\0\0\0", 11) + "\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.";
const std::string kZip("PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\x00\x00", 16);

std::string tar() { return std::string(257, 'n') + "ustar" + std::string(250, 0); }

/// One file of this name and these bytes.
HostileCase file_case(std::string name, std::string file, std::string bytes) {
  return {std::move(name), [=](const fs::path& folder) { put(folder / file, bytes); }, file};
}
/// The tiny folder with other bytes as its weights.
HostileCase weights_case(std::string name, std::string bytes, std::string file = "model.safetensors") {
  return folder_case(std::move(name), [=](Files& files) {
    files.erase("model.safetensors");
    files[file] = bytes;
  });
}

}  // namespace

std::vector<HostileCase> foreign_cases() {
  const std::string lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
  const std::string page = "<!DOCTYPE html><html><title>Not found</title></html>";
  return {
      file_case("L7_bin", "pytorch_model.bin", kZip),
      file_case("L7_pth", "consolidated.00.pth", kLegacyTorch),
      file_case("L7_pkl", "weights.pkl", kPickle),
      file_case("L7_pickle_as_gguf", "model.gguf", kPickle),
      file_case("L7_zip_as_gguf", "model.gguf", kZip),
      file_case("L7_torch_as_gguf", "model.gguf", kLegacyTorch),
      file_case("L7_tar_as_gguf", "model.gguf", tar()),
      file_case("L7_lfs_pointer_as_gguf", "model.gguf", lfs),
      file_case("L7_web_page_as_gguf", "model.gguf", page),
      file_case("L7_pickle_without_an_ending", "model", kPickle),
      file_case("L7_pickle_as_single_safetensors", "model.safetensors", kPickle),
      file_case("L7_single_safetensors", "model.safetensors", tiny_folder().at("model.safetensors")),
      file_case("L7_unfinished_file", "model.gguf.incomplete", TinyGguf().bytes()),
      weights_case("L7_folder_of_bin", kZip, "pytorch_model.bin"),
      weights_case("L7_pickle_as_safetensors", kPickle),
      weights_case("L7_torch_as_safetensors", kLegacyTorch),
      weights_case("L7_zip_as_safetensors", kZip),
      weights_case("L7_tar_as_safetensors", tar()),
      weights_case("L7_lfs_pointer_as_safetensors", lfs),
      weights_case("L7_web_page_as_safetensors", page),
      weights_case("L7_weights_unfinished", "x", "model.safetensors.incomplete"),
      weights_case("L7_weights_missing", "x", "readme.txt"),
      weights_case("L7_shards_without_index", "x", "model-00001-of-00002.safetensors"),
      {"L7_nothing_there", [](const fs::path&) {}},
      {"L7_two_models_in_a_folder",
       [](const fs::path& folder) {
         put(folder / "a.gguf", TinyGguf().bytes());
         put(folder / "b.gguf", TinyGguf().bytes());
       },
       "."},
      {"L7_empty_folder", [](const fs::path&) {}, "."},
  };
}

}  // namespace fathom::testing

// Makes the smallest models that are whole: a GGUF file and a Hugging Face folder that load, tokenize, render and
// compute. Hostile files are these with one thing changed. Called by the tests of this folder. One thread.
#pragma once
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_builder.h"

namespace fathom::testing {

namespace fs = std::filesystem;

/// Name within the model's folder -> bytes.
using Files = std::map<std::string, std::string>;

/// The 256 letters that stand for bytes, as vocabularies write them: "!" for 0x21, "Ġ" for a space.
std::vector<std::string> byte_letters();

/// A llama of one layer, 32 wide, in Q8_0, with a byte-level tokenizer of `tokens().size()` tokens and a template.
/// `without`: keys that are left out.
struct TinyGguf {
  std::string architecture = "llama";
  std::vector<std::string> without;
  std::string chat_template = "{% for m in messages %}<s>{{ m.content }}{% endfor %}";
  uint16_t scale = 0x211F;  ///< of every block, as f16
  GgufBuilder builder() const;
  std::string bytes() const { return builder().bytes(); }
  static std::vector<std::string> tokens();  ///< bytes, then "ab", "<s>", "</s>"
};

/// The same model as a folder: config.json, tokenizer.json, tokenizer_config.json, generation_config.json and
/// model.safetensors in BF16.
Files tiny_folder();
void write_files(const fs::path& folder, const Files& files);
/// Writes `bytes` to a file, replacing what is there.
void put(const fs::path& path, std::string_view bytes);

/// tokenizer.json, with no part changed.
std::string tiny_tokenizer_json();

/// 8 bytes of header length, the header, the data.
std::string safetensors_bytes(std::string_view header, std::string_view data);

/// `n` different names of 16 printable or unprintable bytes that the standard library's hash of strings maps to one
/// value in every process (it is MurmurHash64A with a fixed seed, and every step of it can be turned around).
std::vector<std::string> names_of_one_hash(size_t n);

}  // namespace fathom::testing

#include "train/character_tokenizer.h"

#include <array>

#include "base/error.h"
#include "base/json.h"
#include "formats/atomic_file.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr std::string_view kEnd = "<|endoftext|>";

/// The character that byte-level vocabularies write for a byte: itself where it prints, else the next free one from
/// U+0100 on. Source: spec/tokenizers.md 2, step 4.
std::array<char32_t, 256> letters_of_bytes() {
  std::array<char32_t, 256> letters{};
  char32_t next = 0x100;
  for (char32_t b = 0; b < 256; ++b)
    letters[b] = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174 ? b : next++;
  return letters;
}

void write_json(const std::filesystem::path& path, const json::value& value) {
  const std::string text = to_json(value, {.indent = 2, .key_sep = ": "}) + "\n";
  AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

json::object byte_level_step() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
}

}  // namespace

std::string_view all_bytes() {
  static const std::string bytes = [] {
    std::string all(256, '\0');
    for (size_t b = 0; b < all.size(); ++b) all[b] = static_cast<char>(b);
    return all;
  }();
  return bytes;
}

size_t write_character_tokenizer(const std::filesystem::path& folder, std::string_view text) {
  if (text.empty()) throw Error("character tokenizer: expected a text, found an empty one");
  std::array<bool, 256> occurs{};
  for (const char c : text) occurs[static_cast<uint8_t>(c)] = true;
  const std::array<char32_t, 256> letters = letters_of_bytes();
  json::object vocab;
  for (size_t b = 0; b < 256; ++b) {
    if (!occurs[b]) continue;
    std::string letter;
    append_utf8(letter, letters[b]);
    vocab[letter] = static_cast<int64_t>(vocab.size());
  }
  const auto end_id = static_cast<int64_t>(vocab.size());
  vocab[kEnd] = end_id;
  const json::object end_token = {{"id", end_id},    {"content", kEnd},     {"single_word", false}, {"lstrip", false},
                                  {"rstrip", false}, {"normalized", false}, {"special", true}};
  const json::object model = {{"type", "BPE"},
                              {"dropout", nullptr},
                              {"unk_token", nullptr},
                              {"continuing_subword_prefix", nullptr},
                              {"end_of_word_suffix", nullptr},
                              {"fuse_unk", false},
                              {"byte_fallback", false},
                              {"ignore_merges", false},
                              {"vocab", vocab},
                              {"merges", json::array()}};
  // GPT-2's cutting changes nothing where nothing is merged, and every reader of tokenizers knows it.
  write_json(folder / "tokenizer.json", json::object{{"version", "1.0"},
                                                     {"truncation", nullptr},
                                                     {"padding", nullptr},
                                                     {"added_tokens", json::array{end_token}},
                                                     {"normalizer", nullptr},
                                                     {"pre_tokenizer", byte_level_step()},
                                                     {"post_processor", nullptr},
                                                     {"decoder", byte_level_step()},
                                                     {"model", model}});
  write_json(folder / "tokenizer_config.json", json::object{{"tokenizer_class", "PreTrainedTokenizerFast"},
                                                            {"eos_token", kEnd},
                                                            {"pad_token", kEnd},
                                                            {"clean_up_tokenization_spaces", false}});
  return vocab.size();
}

}  // namespace fathom

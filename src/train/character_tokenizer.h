// A tokenizer for small experiments: one token per byte, nothing merged. Called by the training stages that start from
// nothing. No state: thread-safe.
#pragma once
#include <filesystem>
#include <string_view>

namespace fathom {

/// All bytes from 0 to 255: a tokenizer for any text.
std::string_view all_bytes();

/// Writes tokenizer.json and tokenizer_config.json into an existing folder, as Hugging Face's tokenizers and
/// formats/tokenizer_json.h read them: byte-level BPE without merges, whose tokens are the bytes that occur in `text`,
/// by their value ("characters", where the text is ASCII), and behind them the end token <|endoftext|>. Returns the
/// size of the vocabulary. A byte that does not occur has no token, and encoding leaves it out: other texts want
/// all_bytes(). Throws Error if `text` is empty or the folder is not writable.
size_t write_character_tokenizer(const std::filesystem::path& folder, std::string_view text);

}  // namespace fathom

#include "formats/tokenizer_json.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/targets.h"

namespace fathom::fuzz {

void tokenizer(std::string_view input) {
  const auto [model, settings] = two_parts(input);
  const std::filesystem::path& folder = scratch_folder();
  write_file(folder / "tokenizer.json", model);
  write_file(folder / "tokenizer_config.json", settings.empty() ? "{}" : settings);
  try {
    if (std::optional<TokenizerSpec> spec = tokenizer_from_folder(folder)) exercise(std::move(*spec));
  } catch (const Error&) {
  }
}

}  // namespace fathom::fuzz

#include "cli/tokenizer_source.h"

#include "base/error.h"
#include "formats/gguf.h"
#include "formats/tokenizer_gguf.h"
#include "formats/tokenizer_json.h"

namespace fathom {

TokenizerSpec load_tokenizer_spec(const std::filesystem::path& model) {
  std::optional<TokenizerSpec> spec = std::filesystem::is_directory(model)
                                          ? tokenizer_from_folder(model)
                                          : tokenizer_from_gguf(GgufFile(model).metadata());
  if (!spec) throw Error(cat(model.string(), ": expected a tokenizer, found none"));
  return std::move(*spec);
}

}  // namespace fathom

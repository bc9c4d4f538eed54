// Which files of a repository a pull takes. A folder of safetensors comes with its configuration and tokenizer; of GGUF
// files exactly one is taken, with all its parts; pickles never, unless somebody asks for all. Called by hub/pull.cc
// and cli/rm.cc. Thread-safe: no state.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "hub/repository.h"

namespace fathom {

struct Choice {
  std::vector<RemoteFile> files;   ///< in the order of their paths, small ones first
  std::vector<std::string> notes;  ///< what was left out, and why
};

/// A GGUF file with all its parts; `name` is the path of the first.
struct GgufGroup {
  std::string name;
  std::vector<std::string> paths;
  uint64_t size = 0;
  uint64_t expected_parts = 1;
};

/// It must be said which of several GGUF files is meant; the message lists them, too.
class ChoiceNeeded : public UsageError {
 public:
  ChoiceNeeded(const std::string& message, std::vector<GgufGroup> several)
      : UsageError(message), groups(std::move(several)) {}
  std::vector<GgufGroup> groups;
};

/// `file` empty: the model, as above. Else a path, a file's name, any part of a split GGUF, or a quantisation's name
/// that fits one GGUF file (Q4_K_M fits x-Q4_K_M.gguf and q4_k_m/x-00001-of-00002.gguf).
/// Throws ChoiceNeeded where it must be said which; Error where there is nothing that can be used, or where parts of a
/// split file are missing.
Choice choose_files(const Repository& repository, const std::string& file, bool all);

/// Groups the GGUF files among `files`, by name.
std::vector<GgufGroup> gguf_groups(const std::vector<RemoteFile>& files);

/// A short name by which a person knows one of several GGUF files, which fits() takes: the name of its quantisation,
/// where the file's name ends in one that fits no other of `others` ("Q4_K_M"), else the path.
std::string short_name(const GgufGroup& group, const std::vector<GgufGroup>& others);

/// True for files beside a GGUF model that are none themselves: vision projectors and importance matrices.
bool is_accessory(const GgufGroup& group);

/// True if `selector` is a path of the group, its file's name, or the name of its quantisation.
bool fits(const GgufGroup& group, std::string_view selector);

}  // namespace fathom

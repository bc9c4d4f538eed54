#include "hub/choose.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "hub/headers.h"

namespace fathom {
namespace {

constexpr size_t kMostListed = 60;

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  return out;
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }
bool in_root(std::string_view path) { return path.find('/') == std::string_view::npos; }

bool has_extension(std::string_view path, std::string_view extension) { return lower(path).ends_with(extension); }
bool is_gguf(std::string_view path) { return has_extension(path, ".gguf"); }
bool is_safetensors(std::string_view path) { return has_extension(path, ".safetensors"); }

bool is_pickle(std::string_view path) {
  for (const char* extension : {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
    if (has_extension(path, extension)) return true;
  return false;
}

/// What stands beside the weights and is read by some program: configuration, tokenizer, template, terms.
bool is_companion(std::string_view path) {
  const std::string name = lower(path);
  if (name.ends_with(".index.json")) return name.ends_with(".safetensors.index.json");
  for (const char* extension : {".json", ".jinja", ".tiktoken"})
    if (name.ends_with(extension)) return true;
  for (const char* begin : {"readme", "license", "licence", "notice", "use_policy", "copying"})
    if (name.starts_with(begin)) return true;
  return name == "merges.txt" || name == "vocab.txt" || name == "tokenizer.model" || name == "spiece.model" ||
         name == "sentencepiece.bpe.model";
}

/// Where a part of a split GGUF stands: "x-00002-of-00003.gguf" is part 2 of 3 of "x".
struct Part {
  std::string base;
  uint64_t index, count;
};
std::optional<Part> part_of(std::string_view path) {
  constexpr size_t kTail = std::string_view("-00001-of-00002.gguf").size();
  if (path.size() <= kTail || !is_gguf(path)) return std::nullopt;
  const std::string_view tail = path.substr(path.size() - kTail);
  const auto index = decimal(tail.substr(1, 5)), count = decimal(tail.substr(10, 5));
  if (tail[0] != '-' || tail.substr(6, 4) != "-of-" || !index || !count || *index < 1 || *index > *count)
    return std::nullopt;
  return Part{std::string(path.substr(0, path.size() - kTail)), *index, *count};
}

std::vector<GgufGroup> without_accessories(std::vector<GgufGroup> groups) {
  std::erase_if(groups, is_accessory);
  return groups;
}

std::string listed(const std::vector<GgufGroup>& groups) {
  std::string text;
  for (size_t i = 0; i < groups.size() && i < kMostListed; ++i)
    text += cat("\n  ", groups[i].name, "  ", size_text(groups[i].size),
                groups[i].paths.size() > 1 ? cat(" in ", groups[i].paths.size(), " parts") : "");
  if (groups.size() > kMostListed) text += cat("\n  and ", groups.size() - kMostListed, " more");
  return text;
}

/// Picks files of a repository by path; the result is sorted, small files first.
class Picker {
 public:
  explicit Picker(const Repository& repository) : repository_(repository) {}
  void take(const std::string& path) { paths_.insert(path); }
  void take(const GgufGroup& group) {
    if (group.paths.size() != group.expected_parts)
      throw Error(cat(repository_.name.repository(), ": ", group.name, ": expected ", group.expected_parts,
                      " parts, found ", group.paths.size()));
    paths_.insert(group.paths.begin(), group.paths.end());
  }
  template <class F>
  void take_if(const F& wanted) {
    for (const RemoteFile& file : repository_.files)
      if (wanted(file.path)) take(file.path);
  }
  Choice done(std::vector<std::string> notes = {}) const {
    Choice choice{{}, std::move(notes)};
    for (const RemoteFile& file : repository_.files)
      if (paths_.contains(file.path)) choice.files.push_back(file);
    std::sort(choice.files.begin(), choice.files.end(), [](const RemoteFile& a, const RemoteFile& b) {
      const auto order = [](const RemoteFile& f) { return std::pair(!f.sha256.empty(), std::string_view(f.path)); };
      return order(a) < order(b);
    });
    return choice;
  }

 private:
  const Repository& repository_;
  std::set<std::string> paths_;
};

Choice choose_one(const Repository& repository, const std::string& wanted) {
  Picker picker(repository);
  std::vector<GgufGroup> found;
  const std::vector<GgufGroup> groups = gguf_groups(repository.files);
  for (const GgufGroup& group : groups)
    if (std::find(group.paths.begin(), group.paths.end(), wanted) != group.paths.end()) found = {group};
  if (found.empty()) {
    const auto is_wanted = [&](const RemoteFile& file) { return file.path == wanted; };
    if (std::any_of(repository.files.begin(), repository.files.end(), is_wanted)) {
      picker.take(wanted);
      return picker.done();
    }
    for (const GgufGroup& group : without_accessories(groups))
      if (fits(group, wanted)) found.push_back(group);
  }
  const std::string name = repository.name.repository();
  if (found.empty() && groups.empty())
    throw Error(cat(name, ": no file ", wanted, " in commit ", repository.commit.substr(0, 12)));
  if (found.empty()) throw Error(cat(name, ": no file fits '", wanted, "'; there is", listed(groups)));
  if (found.size() > 1)
    throw ChoiceNeeded(
        cat(name, ": more than one file fits '", wanted, "'; name one as ", name, ":FILE", listed(found)), found);
  picker.take(found[0]);
  return picker.done();
}

Choice choose_safetensors(const Repository& repository) {
  Picker picker(repository);
  const auto is_weight = [](std::string_view path) { return in_root(path) && is_safetensors(path); };
  const auto is_main = [&](std::string_view path) { return is_weight(path) && lower(path).starts_with("model"); };
  const auto has = [&](const auto& test) {
    return std::any_of(repository.files.begin(), repository.files.end(),
                       [&](const RemoteFile& f) { return test(f.path); });
  };
  // Some publish the same weights a second time, for the vendor's own program.
  const bool twice = has(is_main);
  picker.take_if(
      [&](std::string_view path) { return is_weight(path) && !(twice && lower(path).starts_with("consolidated")); });
  picker.take_if([](std::string_view path) { return in_root(path) && is_companion(path); });
  std::vector<std::string> notes;
  if (has(is_pickle)) notes.push_back("left out: pickle files (.bin, .pt, ...), which can run code when they are read");
  if (has(is_gguf))
    notes.push_back(cat("left out: GGUF files; ", repository.name.repository(), ":FILE takes one of them"));
  return picker.done(std::move(notes));
}

}  // namespace

std::vector<GgufGroup> gguf_groups(const std::vector<RemoteFile>& files) {
  std::map<std::string, GgufGroup> groups;  // by the name of the first part
  for (const RemoteFile& file : files) {
    if (!is_gguf(file.path)) continue;
    const std::optional<Part> part = part_of(file.path);
    // Parts of different counts are different files that share a name.
    const std::string key = part ? cat(part->base, " of ", part->count) : file.path;
    GgufGroup& group = groups[key];
    group.paths.push_back(file.path);
    group.size += file.size;
    if (part) group.expected_parts = part->count;
  }
  std::vector<GgufGroup> out;
  for (auto& [key, group] : groups) {
    std::sort(group.paths.begin(), group.paths.end());
    group.name = group.paths[0];
    out.push_back(std::move(group));
  }
  return out;
}

bool is_accessory(const GgufGroup& group) {
  const std::string name = lower(file_name(group.name));
  return name.starts_with("mmproj") || name.find("imatrix") != std::string::npos;
}

std::string short_name(const GgufGroup& group, const std::vector<GgufGroup>& others) {
  const std::optional<Part> part = part_of(group.name);
  std::string_view stem = part ? part->base : group.name;
  if (!part) stem.remove_suffix(std::min(stem.size(), std::string_view(".gguf").size()));
  std::string word(stem.substr(stem.find_last_of("-./") + 1));
  for (char& c : word)
    if (c >= 'a' && c <= 'z') c -= 'a' - 'A';
  const size_t digit = word.find_first_of("0123456789");
  const std::string kind = word.substr(0, digit);
  constexpr std::array<std::string_view, 6> kKinds = {"Q", "IQ", "TQ", "F", "BF", "MXFP"};
  if (digit == std::string::npos || std::ranges::find(kKinds, kind) == kKinds.end()) return group.name;
  const auto is_other = [&](const GgufGroup& other) { return other.name != group.name && fits(other, word); };
  return std::ranges::any_of(others, is_other) ? group.name : word;
}

bool fits(const GgufGroup& group, std::string_view selector) {
  const std::string wanted = lower(selector);
  for (const std::string& path : group.paths)
    if (lower(path) == wanted || lower(file_name(path)) == wanted) return true;
  if (wanted.find('/') != std::string::npos) return false;
  const std::string path = lower(group.name);
  const auto is_border = [](char c) { return c == '-' || c == '.' || c == '/'; };
  for (size_t at = path.find(wanted); at != std::string::npos; at = path.find(wanted, at + 1)) {
    const size_t end = at + wanted.size();
    if ((at == 0 || is_border(path[at - 1])) && end < path.size() && is_border(path[end])) return true;
  }
  return false;
}

Choice choose_files(const Repository& repository, const std::string& file, bool all) {
  if (!file.empty()) return choose_one(repository, file);
  Picker picker(repository);
  if (all) {
    picker.take_if([](std::string_view) { return true; });
    return picker.done();
  }
  const auto has = [&](const auto& test) {
    return std::any_of(repository.files.begin(), repository.files.end(),
                       [&](const RemoteFile& f) { return test(f.path); });
  };
  const std::string name = repository.name.repository();
  if (has([](std::string_view path) { return in_root(path) && is_safetensors(path); }))
    return choose_safetensors(repository);
  const std::vector<GgufGroup> groups = without_accessories(gguf_groups(repository.files));
  if (groups.size() > 1)
    throw ChoiceNeeded(cat(name, ": holds ", groups.size(), " GGUF files; name one, or its quantisation, as ", name,
                           ":FILE", listed(groups)),
                       groups);
  if (groups.size() == 1) {
    picker.take(groups[0]);
    picker.take_if([](std::string_view path) {
      const std::string low = lower(path);
      return low.starts_with("readme") || low.starts_with("license") || low.starts_with("licence");
    });
    return picker.done();
  }
  if (has(is_pickle))
    throw Error(cat(name,
                    ": expected safetensors or GGUF files, found pickle files only (.bin, .pt, ...), which can "
                    "run code when they are read; look for a repository with safetensors, or convert them with "
                    "transformers (save_pretrained)"));
  throw Error(cat(name, ": expected safetensors or GGUF files, found none among ", repository.files.size(), " files"));
}

}  // namespace fathom

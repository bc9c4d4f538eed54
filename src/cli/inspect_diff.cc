#include "cli/inspect_diff.h"

#include <algorithm>
#include <map>

#include "base/checked.h"
#include "cli/inspect_print.h"
#include "cli/inspect_report.h"
#include "cli/long_work.h"
#include "cli/sanitize.h"
#include "formats/gguf_names.h"
#include "formats/json_file.h"
#include "text/utf8.h"

namespace fathom {
namespace {

/// A key's value as it is shown, and what decides whether two are equal.
struct Value {
  json::value shown;
  std::string exact;
};
using Values = std::map<std::string, Value>;

void flatten(const json::value& value, const std::string& prefix, Values& out) {
  const json::object* object = value.if_object();
  if (!object) {
    out[utf8_lossy(prefix)] = {value, to_json(value)};
    return;
  }
  for (const auto& [key, inner] : *object)
    flatten(inner, prefix.empty() ? std::string(key) : cat(prefix, ".", key), out);
}

Values gguf_values(const GgufMetadata& metadata) {
  Values out;
  for (const GgufMetadata::Entry& e : metadata.entries())
    out[utf8_lossy(e.key)] = {
        gguf_value(metadata, e),
        cat(static_cast<uint32_t>(e.type), " ", static_cast<uint32_t>(e.element), " ", metadata.value_bytes(e))};
  return out;
}

Values own_values(const ModelHeader& header) {
  Values out;
  if (header.gguf) return gguf_values(*header.gguf);
  if (!header.config_json.is_null()) flatten(header.config_json, "", out);
  for (const auto& [key, value] : header.safetensors)
    out[utf8_lossy("__metadata__." + key)] = {json::value(utf8_lossy(value)), value};
  const std::filesystem::path generation = header.path / "generation_config.json";
  std::error_code ignored;
  if (header.kind == ModelHeader::Kind::kFolder && std::filesystem::exists(generation, ignored))
    flatten(read_bounded_json(generation), "generation_config", out);
  return out;
}

/// What any two formats have in common.
Values common_values(const ModelHeader& header) {
  Values out;
  const json::object config = config_facts(header);
  flatten(config, "config", out);
  json::object parameters = parameter_facts(header, config);
  for (const char* key : {"scales", "other", "source"}) parameters.erase(key);
  flatten(parameters, "parameters", out);
  return out;
}

json::object key_differences(const Values& a, const Values& b) {
  json::array added, removed, changed;
  for (const auto& [key, value] : a)
    if (const auto it = b.find(key); it == b.end())
      removed.push_back(json::object{{"key", key}, {"value", value.shown}});
    else if (it->second.exact != value.exact)
      changed.push_back(json::object{{"key", key}, {"from", value.shown}, {"to", it->second.shown}});
  for (const auto& [key, value] : b)
    if (!a.count(key)) added.push_back(json::object{{"key", key}, {"value", value.shown}});
  return {{"added", std::move(added)}, {"removed", std::move(removed)}, {"changed", std::move(changed)}};
}

/// A tensor as it is compared.
struct Form {
  std::string type;
  std::vector<uint64_t> shape;           ///< outermost dimension first
  const HeaderTensor* stored = nullptr;  ///< null where it was put together of several
};
/// By name.
using Forms = std::map<std::string, Form, std::less<>>;

json::object form_json(const Form& form) {
  return {{"type", utf8_lossy(form.type)}, {"shape", json::array(form.shape.begin(), form.shape.end())}};
}

json::object named_json(const std::string& name, const Form& form) {
  json::object out{{"name", utf8_lossy(name)}};
  for (const auto& [key, value] : form_json(form)) out[key] = value;
  return out;
}

std::vector<uint64_t> dims(const Shape& shape) {
  std::vector<uint64_t> out(shape.rank());
  for (size_t i = 0; i < out.size(); ++i) out[i] = shape[i];
  return out;
}

Forms own_forms(const ModelHeader& header) {
  Forms out;
  for (const HeaderTensor& t : header.tensors) out.try_emplace(t.info.name, Form{t.type, dims(t.info.shape), &t});
  return out;
}

/// The tensors of either format as GGUF has them, so that the two can be compared: experts in stacks, gate and up
/// apart, the halves of kv_b together; without what only says how others are stored, and what follows from the
/// configuration.
class CommonForms {
 public:
  explicit CommonForms(const ModelHeader& header) {
    for (const HeaderTensor& t : header.tensors)
      if (header.kind == ModelHeader::Kind::kGguf)
        add_gguf(t);
      else
        add_hf(t);
  }
  Forms take() { return std::move(forms_); }

 private:
  void add_hf(const HeaderTensor& t) {
    constexpr std::string_view kStack = ".mlp.experts.gate_up_proj";
    const std::string& name = t.info.name;
    if (name.ends_with("_scale_inv") || name.ends_with(".inv_freq")) return;
    if (const std::optional<ExpertName> expert = expert_name(name))
      join(gguf_expert_stack(expert->layer, expert->projection), t);
    else if (const std::optional<ExpertName> first = expert_name(one_of_stack(name)))
      add_stack(first->layer, name.ends_with(kStack) ? "gate_up" : "down", t);
    else
      add(gguf_name(name).value_or(name), t, dims(t.info.shape));
  }

  /// "model.layers.3.mlp.experts.down_proj", as transformers 5 stacks experts, as the name of its first one.
  static std::string one_of_stack(std::string_view name) {
    const size_t dot = name.rfind('.');
    const std::string_view projection = dot == std::string_view::npos ? "" : name.substr(dot + 1);
    if (projection != "gate_up_proj" && projection != "down_proj") return "";
    return cat(name.substr(0, dot), ".0.down_proj.weight");
  }

  void add_gguf(const HeaderTensor& t) {
    const std::string& name = t.info.name;
    if (name == "rope_freqs.weight") return;
    if (const std::optional<ExpertStack> stack = expert_stack(name)) {
      add_stack(stack->layer, stack->projection, t);
    } else if (const size_t at = std::min(name.find(".attn_k_b.weight"), name.find(".attn_v_b.weight"));
               at != std::string::npos && t.info.shape.rank() == 3) {
      add_half(name.substr(0, at) + ".attn_kv_b.weight", t, name[at + 6] == 'k');
    } else {
      add(name, t, dims(t.info.shape));
    }
  }

  void add_stack(size_t layer, const std::string& projection, const HeaderTensor& t) {
    std::vector<uint64_t> shape = dims(t.info.shape);
    if (projection != "gate_up" || shape.size() != 3 || shape[1] % 2 != 0)
      return add(gguf_expert_stack(layer, projection), t, std::move(shape));
    shape[1] /= 2;
    add(gguf_expert_stack(layer, "gate"), t, shape);
    add(gguf_expert_stack(layer, "up"), t, std::move(shape));
  }

  /// k_b [H, latent, nope] and v_b [H, v, latent] are rows of kv_b [H (nope + v), latent].
  void add_half(const std::string& name, const HeaderTensor& t, bool keys) {
    const Shape& s = t.info.shape;
    const uint64_t heads = s[0], rows = keys ? s[2] : s[1], columns = keys ? s[1] : s[2];
    const auto [it, first] = forms_.try_emplace(name, Form{t.type, {0, columns}, nullptr});
    Form& form = it->second;
    if (form.shape.size() == 2)
      form.shape[0] = checked_add(form.shape[0], checked_mul(heads, rows).value_or(0)).value_or(0);
    if (form.type != t.type) form.type = "several types";
  }

  /// One more of a stack [n, rows, columns].
  void join(const std::string& name, const HeaderTensor& t) {
    std::vector<uint64_t> shape = dims(t.info.shape);
    shape.insert(shape.begin(), 0);
    const auto [it, first] = forms_.try_emplace(name, Form{t.type, std::move(shape), nullptr});
    ++it->second.shape[0];
    if (it->second.type != t.type) it->second.type = "several types";
  }

  void add(const std::string& name, const HeaderTensor& t, std::vector<uint64_t> shape) {
    forms_.try_emplace(name, Form{t.type, std::move(shape), nullptr});
  }

  Forms forms_;
};

/// Reads tensors of two models side by side; files are opened once.
class DataComparison {
 public:
  DataComparison(const ModelHeader& a, const ModelHeader& b) : a_(a), b_(b) {}

  /// Names of the pairs whose bytes differ.
  json::array different(const std::vector<std::pair<const HeaderTensor*, const HeaderTensor*>>& pairs) {
    for (const auto& [a, b] : pairs) total_ += a->info.size_bytes;
    json::array out;
    for (const auto& [a, b] : pairs)
      if (!equal(*a, *b)) out.push_back(json::value(utf8_lossy(a->info.name)));
    return out;
  }

 private:
  bool equal(const HeaderTensor& a, const HeaderTensor& b) {
    constexpr uint64_t kStep = 4 << 20;
    const InputFile &left = file(a_, a, left_), &right = file(b_, b, right_);
    for (uint64_t at = 0; at < a.info.size_bytes; at += kStep) {
      const uint64_t n = std::min(kStep, a.info.size_bytes - at);
      one_.resize(n), other_.resize(n);
      left.read(a.offset + at, one_.data(), n);
      right.read(b.offset + at, other_.data(), n);
      work_.step(done_ += n, total_);
      if (one_ != other_) return false;
    }
    return true;
  }

  static const InputFile& file(const ModelHeader& header, const HeaderTensor& t, std::map<size_t, InputFile>& open) {
    return open.try_emplace(t.file, header.files[t.file].path).first->second;
  }

  const ModelHeader &a_, &b_;
  std::map<size_t, InputFile> left_, right_;
  std::string one_, other_;
  uint64_t done_ = 0, total_ = 0;
  LongWork work_{"comparing"};
};

/// `comparison`: null leaves the data alone.
json::object tensor_differences(const Forms& left, const Forms& right, DataComparison* comparison) {
  json::array added, removed, changed;
  std::vector<std::pair<const HeaderTensor*, const HeaderTensor*>> alike;
  for (const auto& [name, form] : left) {
    const auto it = right.find(name);
    if (it == right.end())
      removed.push_back(named_json(name, form));
    else if (form.type != it->second.type || form.shape != it->second.shape)
      changed.push_back(
          json::object{{"name", utf8_lossy(name)}, {"from", form_json(form)}, {"to", form_json(it->second)}});
    else
      alike.emplace_back(form.stored, it->second.stored);
  }
  for (const auto& [name, form] : right)
    if (!left.count(name)) added.push_back(named_json(name, form));
  json::object out{{"added", std::move(added)}, {"removed", std::move(removed)}, {"changed", std::move(changed)}};
  out["data"] = comparison ? json::value(comparison->different(alike)) : json::value(nullptr);
  return out;
}

bool nothing_in(const json::object& differences) {
  return std::all_of(differences.begin(), differences.end(), [](const json::key_value_pair& list) {
    return list.value().is_null() || list.value().as_array().empty();
  });
}

enum class Common { kAll, kTensors, kNames };

/// What of two models can be compared: all of two alike, the tensors of a folder and a safetensors file, and what has
/// the same meaning where one of them is GGUF.
Common in_common(const ModelHeader& a, const ModelHeader& b) {
  if (a.kind == b.kind) return Common::kAll;
  const bool gguf = a.kind == ModelHeader::Kind::kGguf || b.kind == ModelHeader::Kind::kGguf;
  return gguf ? Common::kNames : Common::kTensors;
}

json::array notes_of(const ModelHeader& a, const ModelHeader& b, Common common, bool data) {
  json::array notes;
  if (common == Common::kTensors)
    notes.push_back("a safetensors file alone has no configuration: the tensors are compared, no keys");
  if (common == Common::kNames)
    notes.push_back(
        json::value(cat("the formats differ: compared are the configuration and the tensors by GGUF's names",
                        data ? ", not their data" : "")));
  for (const ModelHeader* header : {&a, &b}) {
    const std::string path = utf8_lossy(header->path.string());
    if (!header->complete()) notes.push_back(json::value(path + " is not complete"));
    const auto foreign = std::count_if(header->tensors.begin(), header->tensors.end(),
                                       [](const HeaderTensor& t) { return !t.type_known && t.info.size_bytes == 0; });
    if (data && foreign)
      notes.push_back(json::value(cat(path, ": ", foreign, " tensors have types of unknown size: not their data")));
  }
  return notes;
}

// ---- for a person

/// A name with its numbers as "*": tensors of all layers that differ alike become one line.
std::string pattern_of(std::string_view name) {
  std::string out;
  while (!name.empty()) {
    const size_t end = std::min(name.find('.'), name.size());
    const std::string_view part = name.substr(0, end);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    out += number ? "*" : part;
    if (end < name.size()) out += '.';
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return out;
}

std::string form_text(const json::object& form) {
  return cat(one_line(form.at("type").as_string()), " ", to_json(form.at("shape")));
}

/// Lines in the order of their first tensor.
class Lines {
 public:
  void key(const std::string& text) { lines_.push_back({text, "", "", 1}); }
  void tensor(const char* sign, std::string_view name, const std::string& what) {
    const std::string pattern = pattern_of(name);
    const auto [it, first] = groups_.try_emplace(cat(sign, pattern, "\n", what), lines_.size());
    if (first)
      lines_.push_back({sign, std::string(name), what, 1});
    else
      ++lines_[it->second].count;
  }
  std::string text() const {
    constexpr size_t kMostLines = 200;
    std::string out;
    for (size_t i = 0; i < std::min(lines_.size(), kMostLines); ++i) {
      const Line& l = lines_[i];
      out += l.begin;
      if (l.count > 1)
        out += cat(l.count, " tensors ", one_line(pattern_of(l.name)), l.what);
      else if (!l.name.empty())
        out += cat("tensor ", one_line(l.name), l.what);
      out += "\n";
    }
    if (lines_.size() > kMostLines)
      out += cat("and ", lines_.size() - kMostLines, " more lines (--json has all differences)\n");
    return out;
  }

 private:
  struct Line {
    std::string begin, name, what;
    size_t count;
  };
  std::vector<Line> lines_;
  std::map<std::string, size_t> groups_;
};

std::string changed_text(const json::object& entry) {
  const std::string from = value_text(entry.at("from")), to = value_text(entry.at("to"));
  return cat(from, " -> ", to, from == to ? " (other values behind what is shown)" : "");
}

void add_key_lines(const json::object& keys, Lines& out) {
  const auto name = [](const json::object& e) { return one_line(e.at("key").as_string()); };
  for (const json::value& e : keys.at("removed").as_array())
    out.key(cat("- ", name(e.as_object()), ": ", value_text(e.at("value"))));
  for (const json::value& e : keys.at("added").as_array())
    out.key(cat("+ ", name(e.as_object()), ": ", value_text(e.at("value"))));
  for (const json::value& e : keys.at("changed").as_array())
    out.key(cat("~ ", name(e.as_object()), ": ", changed_text(e.as_object())));
}

void add_tensor_lines(const json::object& tensors, Lines& out) {
  for (const auto& [list, sign] : {std::pair("removed", "- "), std::pair("added", "+ ")})
    for (const json::value& e : tensors.at(list).as_array())
      out.tensor(sign, e.at("name").as_string(), ": " + form_text(e.as_object()));
  for (const json::value& e : tensors.at("changed").as_array())
    out.tensor("~ ", e.at("name").as_string(),
               cat(": ", form_text(e.at("from").as_object()), " -> ", form_text(e.at("to").as_object())));
  if (const json::array* different = tensors.at("data").if_array())
    for (const json::value& tensor : *different) out.tensor("~ ", tensor.as_string(), ": other data");
}

}  // namespace

json::object inspect_diff(const ModelHeader& a, const ModelHeader& b, bool data) {
  const Common common = in_common(a, b);
  json::object keys = key_differences({}, {}), tensors;
  if (common == Common::kNames) {
    keys = key_differences(common_values(a), common_values(b));
    tensors = tensor_differences(CommonForms(a).take(), CommonForms(b).take(), nullptr);
  } else {
    if (common == Common::kAll) keys = key_differences(own_values(a), own_values(b));
    std::optional<DataComparison> comparison;
    if (data) comparison.emplace(a, b);
    tensors = tensor_differences(own_forms(a), own_forms(b), comparison ? &*comparison : nullptr);
  }
  return {{"format", "fathom.inspect.diff"},
          {"version", 1},
          {"a", utf8_lossy(a.path.string())},
          {"b", utf8_lossy(b.path.string())},
          {"same", nothing_in(keys) && nothing_in(tensors)},
          {"keys", keys},
          {"tensors", tensors},
          {"notes", notes_of(a, b, common, data)}};
}

std::string diff_text(const json::object& diff) {
  const json::object& tensors = diff.at("tensors").as_object();
  Lines lines;
  add_key_lines(diff.at("keys").as_object(), lines);
  add_tensor_lines(tensors, lines);
  std::string out = cat("- ", one_line(diff.at("a").as_string()), "\n+ ", one_line(diff.at("b").as_string()), "\n");
  out += lines.text();
  if (diff.at("same").as_bool())
    out += tensors.at("data").is_null() ? "no difference in keys, names, types and shapes\n"
                                        : "no difference, in the data neither\n";
  for (const json::value& note : diff.at("notes").as_array()) out += cat("note: ", one_line(note.as_string()), "\n");
  return sanitized(out);
}

}  // namespace fathom

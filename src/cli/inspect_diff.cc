#include "cli/inspect_diff.h"

#include <algorithm>
#include <map>

#include "cli/inspect_print.h"
#include "cli/inspect_report.h"
#include "cli/long_work.h"
#include "cli/sanitize.h"
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

json::object form_of(const HeaderTensor& t) {
  json::array shape;
  for (size_t i = 0; i < t.info.shape.rank(); ++i) shape.push_back(json::value(t.info.shape[i]));
  return {{"type", utf8_lossy(t.type)}, {"shape", std::move(shape)}};
}

json::object named_form(const HeaderTensor& t) {
  json::object out{{"name", utf8_lossy(t.info.name)}};
  for (const auto& [key, value] : form_of(t)) out[key] = value;
  return out;
}

using Tensors = std::map<std::string_view, const HeaderTensor*>;
Tensors by_name(const ModelHeader& header) {
  Tensors out;
  for (const HeaderTensor& t : header.tensors) out.emplace(t.info.name, &t);
  return out;
}

/// Reads tensors of two models side by side; files are opened once.
class DataComparison {
 public:
  DataComparison(const ModelHeader& a, const ModelHeader& b, uint64_t total) : a_(a), b_(b), total_(total) {}

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

 private:
  static const InputFile& file(const ModelHeader& header, const HeaderTensor& t, std::map<size_t, InputFile>& open) {
    return open.try_emplace(t.file, header.files[t.file].path).first->second;
  }

  const ModelHeader &a_, &b_;
  std::map<size_t, InputFile> left_, right_;
  std::string one_, other_;
  uint64_t done_ = 0, total_;
  LongWork work_{"comparing"};
};

json::object tensor_differences(const ModelHeader& a, const ModelHeader& b, bool data) {
  const Tensors left = by_name(a), right = by_name(b);
  json::array added, removed, changed;
  std::vector<std::pair<const HeaderTensor*, const HeaderTensor*>> alike;
  uint64_t bytes = 0;
  for (const auto& [name, t] : left) {
    const auto it = right.find(name);
    if (it == right.end()) {
      removed.push_back(named_form(*t));
    } else if (t->type != it->second->type || t->info.shape != it->second->info.shape) {
      changed.push_back(json::object{{"name", utf8_lossy(name)}, {"from", form_of(*t)}, {"to", form_of(*it->second)}});
    } else {
      alike.emplace_back(t, it->second);
      bytes += t->info.size_bytes;
    }
  }
  for (const auto& [name, t] : right)
    if (!left.count(name)) added.push_back(named_form(*t));
  json::object out{{"added", std::move(added)}, {"removed", std::move(removed)}, {"changed", std::move(changed)}};
  out["data"] = nullptr;
  if (!data) return out;
  json::array different;
  DataComparison comparison(a, b, bytes);
  for (const auto& [one, other] : alike)
    if (!comparison.equal(*one, *other)) different.push_back(json::value(utf8_lossy(one->info.name)));
  out["data"] = std::move(different);
  return out;
}

bool nothing_in(const json::object& differences) {
  return std::all_of(differences.begin(), differences.end(), [](const json::key_value_pair& list) {
    return list.value().is_null() || list.value().as_array().empty();
  });
}

std::string form_text(const json::object& form) {
  return cat(one_line(form.at("type").as_string()), " ", to_json(form.at("shape")));
}

std::string lines_of(const json::object& keys, const json::object& tensors) {
  std::string out;
  const auto each = [&](const json::object& from, const char* list, auto f) {
    for (const json::value& entry : from.at(list).as_array()) out += f(entry.as_object()) + "\n";
  };
  const auto name = [](const json::object& e, const char* key) { return one_line(e.at(key).as_string()); };
  each(keys, "removed", [&](const auto& e) { return cat("- ", name(e, "key"), ": ", value_text(e.at("value"))); });
  each(keys, "added", [&](const auto& e) { return cat("+ ", name(e, "key"), ": ", value_text(e.at("value"))); });
  each(keys, "changed", [&](const auto& e) {
    return cat("~ ", name(e, "key"), ": ", value_text(e.at("from")), " -> ", value_text(e.at("to")));
  });
  each(tensors, "removed", [&](const auto& e) { return cat("- tensor ", name(e, "name"), ": ", form_text(e)); });
  each(tensors, "added", [&](const auto& e) { return cat("+ tensor ", name(e, "name"), ": ", form_text(e)); });
  each(tensors, "changed", [&](const auto& e) {
    return cat("~ tensor ", name(e, "name"), ": ", form_text(e.at("from").as_object()), " -> ",
               form_text(e.at("to").as_object()));
  });
  if (tensors.at("data").is_array())
    for (const json::value& tensor : tensors.at("data").as_array())
      out += cat("~ tensor ", one_line(tensor.as_string()), ": other data\n");
  return out;
}

}  // namespace

json::object inspect_diff(const ModelHeader& a, const ModelHeader& b, bool data) {
  const bool alike = a.kind == b.kind;
  const json::object keys =
      alike ? key_differences(own_values(a), own_values(b)) : key_differences(common_values(a), common_values(b));
  json::object tensors{
      {"added", json::array()}, {"removed", json::array()}, {"changed", json::array()}, {"data", nullptr}};
  json::array notes;
  if (alike)
    tensors = tensor_differences(a, b, data);
  else
    notes.push_back("the formats differ: configuration and counts are compared, tensors are not");
  for (const ModelHeader* header : {&a, &b})
    if (!header->complete()) notes.push_back(json::value(cat(utf8_lossy(header->path.string()), " is not complete")));
  return {{"format", "fathom.inspect.diff"},
          {"version", 1},
          {"a", utf8_lossy(a.path.string())},
          {"b", utf8_lossy(b.path.string())},
          {"same", nothing_in(keys) && nothing_in(tensors)},
          {"keys", keys},
          {"tensors", tensors},
          {"notes", std::move(notes)}};
}

std::string diff_text(const json::object& diff) {
  std::string out = lines_of(diff.at("keys").as_object(), diff.at("tensors").as_object());
  if (diff.at("same").as_bool())
    out += diff.at("tensors").at("data").is_null() ? "no difference in keys, names, types and shapes\n"
                                                   : "no difference, in the data neither\n";
  for (const json::value& note : diff.at("notes").as_array()) out += cat("note: ", one_line(note.as_string()), "\n");
  return sanitized(out);
}

}  // namespace fathom

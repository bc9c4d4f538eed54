#include "cli/inspect_print.h"

#include <algorithm>
#include <array>
#include <iomanip>
#include <sstream>

#include "base/error.h"
#include "cli/sanitize.h"
#include "cli/terminal.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kLabel = 15, kLongestValue = 100, kMostListed = 12;

std::string text(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_string() ? one_line(std::string_view(value->get_string())) : "";
}
uint64_t number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_number() ? value->to_number<uint64_t>() : 0;
}
const json::object* part(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value ? value->if_object() : nullptr;
}

std::string line(std::string_view label, const std::string& value) {
  return cat(label, std::string(label.size() < kLabel ? kLabel - label.size() : 1, ' '), value, "\n");
}

/// "label  a, b, c" of the parts that are not empty; nothing if all are.
std::string list_line(std::string_view label, std::initializer_list<std::string> parts) {
  std::string all;
  for (const std::string& p : parts)
    if (!p.empty()) all += (all.empty() ? "" : ", ") + p;
  return all.empty() ? "" : line(label, all);
}

/// "4 heads" where the configuration has the key.
std::string fact(const json::object& config, std::string_view key, std::string_view before, std::string_view after) {
  const json::value* value = config.if_contains(key);
  if (!value || value->is_null()) return "";
  return cat(before, value->is_number() && !value->is_double() ? count_text(number(config, key)) : value_text(*value),
             after);
}

/// Columns, the first to the left and the others to the right.
std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      widths.resize(std::max(widths.size(), row.size()));
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  std::string out;
  for (const auto& row : rows) {
    std::string one = "  ";
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - display_width(row[i]), ' ');
      one += i == 0 ? row[i] + pad : "  " + pad + row[i];
    }
    out += one.substr(0, one.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

std::string short_number(double x) {
  std::ostringstream out;
  out << std::setprecision(4) << x;
  return out.str();
}

std::string head(const json::object& r) {
  const std::string state = r.at("complete").as_bool() ? "" : ", NOT COMPLETE";
  const json::array& all = r.at("files").as_array();
  const auto here =
      std::count_if(all.begin(), all.end(), [](const json::value& f) { return f.at("state") != "missing"; });
  const std::string files = cat(static_cast<size_t>(here) == all.size() ? "" : cat(here, " of "), all.size(),
                                all.size() == 1 ? " file" : " files");
  std::string out = line("model", text(r, "path"));
  out += line("format", cat(text(r, "container"), ", ", files, ", ", count_text(number(r, "tensors")), " tensors, ",
                            bytes_text(number(r, "tensor_bytes")), state));
  if (text(r, "content") != "model") out += line("content", text(r, "content"));
  const std::string type = text(r.at("config").as_object(), "model_type");
  out += list_line("architecture", {text(r, "architecture"), type.empty() ? "" : "model_type " + type});
  if (r.contains("config_problem")) out += line("cannot run", text(r, "config_problem"));
  return out;
}

std::string parameters(const json::object& p) {
  const uint64_t total = number(p, "total");
  if (total == 0) return "";
  const bool derived = text(p, "source") == "configuration";
  std::string out = line("parameters", count_text(total) + (derived ? ", as the configuration implies" : ""));
  out += line("  active", cat(count_text(number(p, "active")), " a token, its embedding table of ",
                              count_text(number(p, "embedding")), " included"));
  if (const uint64_t mtp = number(p, "mtp")) out += line("  MTP", count_text(mtp) + ", not counted above");
  if (const uint64_t scales = number(p, "scales")) out += line("  scales", count_text(scales) + ", not counted above");
  if (const json::object* here = part(p, "here"))
    out += line("  here", count_text(number(*here, "total")) + " in the files that are here");
  return out;
}

std::string hyper_parameters(const json::object& c) {
  std::string out;
  out +=
      list_line("layers", {fact(c, "num_hidden_layers", "", ""), fact(c, "hidden_size", "hidden ", ""),
                           fact(c, "intermediate_size", "feed-forward ", ""), fact(c, "vocab_size", "vocabulary ", ""),
                           fact(c, "num_nextn_predict_layers", "", " MTP")});
  if (c.contains("kv_lora_rank"))
    out += list_line("attention",
                     {fact(c, "num_attention_heads", "latent, ", " heads"), fact(c, "q_lora_rank", "q rank ", ""),
                      fact(c, "kv_lora_rank", "kv rank ", ""), fact(c, "qk_nope_head_dim", "nope ", ""),
                      fact(c, "qk_rope_head_dim", "rope ", ""), fact(c, "v_head_dim", "v ", "")});
  else
    out += list_line("attention", {fact(c, "num_attention_heads", "", " heads"), fact(c, "head_dim", "of ", " values"),
                                   fact(c, "num_key_value_heads", "", " for keys and values")});
  if (number(c, "n_routed_experts"))
    out +=
        list_line("experts", {fact(c, "n_routed_experts", "", " routed"), fact(c, "num_experts_per_tok", "", " used"),
                              fact(c, "n_shared_experts", "", " shared"),
                              fact(c, "moe_intermediate_size", "width ", ""), fact(c, "n_group", "", " groups"),
                              fact(c, "topk_group", "", " used"), fact(c, "scoring_func", "", "")});
  out += list_line("context", {fact(c, "max_position_embeddings", "", " positions")});
  const json::object* rope = part(c, "rope");
  if (!rope) return out;
  std::string all;
  for (const auto& [key, value] : *rope)
    all += cat(all.empty() ? "" : ", ", std::string_view(key), " ", value_text(value));
  return out + line("rope", all);
}

std::string types(const json::array& mix) {
  if (mix.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{"type", "tensors", "values", "bytes", "bits/weight"}};
  for (const json::value& entry : mix) {
    const json::object& t = entry.as_object();
    const bool sized = !t.at("bytes").is_null();
    rows.push_back(
        {text(t, "type"), count_text(number(t, "tensors")), count_text(number(t, "values")),
         sized ? bytes_text(number(t, "bytes")) : "unknown",
         t.at("bits_per_weight").is_null() ? "" : short_number(t.at("bits_per_weight").to_number<double>())});
  }
  return "types\n" + table(rows);
}

std::string memory(const json::object& m) {
  const std::string source = text(m, "weights_source");
  std::string out = cat("memory, profile ", text(m, "profile"), ", cache ", text(m, "cache_type"), ", ",
                        bytes_text(number(m, "kv_per_token")), " a token, batch ", number(m, "batch"),
                        source == "tensors" ? "" : cat(" (weights estimated by the ", source, ")"), "\n");
  std::vector<std::vector<std::string>> rows = {{"context", "weights", "cache", "scratch", "together"}};
  for (const json::value& entry : m.at("contexts").as_array()) {
    const json::object& c = entry.as_object();
    rows.push_back({count_text(number(c, "ctx")), bytes_text(number(m, "weights")), bytes_text(number(c, "kv")),
                    bytes_text(number(m, "scratch")), bytes_text(number(c, "total"))});
  }
  out += table(rows);
  const std::string free = bytes_text(number(m, "available")) + " are free";
  return out + (m.at("fits_ctx").is_null() ? "  does not fit here: " + free + "\n"
                                           : cat("  here a run would take a context of ",
                                                 count_text(number(m, "fits_ctx")), ": ", free, "\n"));
}

std::string token(const json::object& t) {
  return cat(t.contains("role") ? text(t, "role") + " " : "", number(t, "id"), " ", value_text(t.at("text")));
}

std::string tokens(const json::object& r) {
  const json::object* t = part(r, "tokenizer");
  if (!t) return line("tokenizer", "none");
  if (t->contains("problem")) return line("tokenizer", "cannot be read: " + text(*t, "problem"));
  std::string out = list_line("tokenizer", {count_text(number(*t, "tokens")) + " tokens",
                                            count_text(number(*t, "merges")) + " merges", text(*t, "pre")});
  for (const auto& [key, label] :
       {std::pair("special", "special tokens"), std::pair("end_of_generation", "ends with")}) {
    std::string all;
    for (const json::value& entry : t->at(key).as_array()) all += (all.empty() ? "" : ", ") + token(entry.as_object());
    if (!all.empty()) out += line(label, all);
  }
  return out;
}

std::string chat_template(const json::object& r, bool whole_sample) {
  const json::object* t = part(r, "chat_template");
  if (!t) return line("chat template", "none");
  std::string out = line("chat template", cat(count_text(number(*t, "bytes")), " bytes, sha256 ", text(*t, "sha256")));
  if (t->contains("render_problem")) return out + line("  sample", "cannot be rendered: " + text(*t, "render_problem"));
  if (!whole_sample) return out + line("  sample", value_text(t->at("rendered")));
  return out + line("  sample", "as rendered for one user message:") + std::string(t->at("rendered").as_string()) +
         "\n";
}

std::string licence(const json::object& r) {
  const json::object* l = part(r, "license");
  if (!l) return line("licence", "not stated");
  if (l->contains("problem")) return line("licence", text(*l, "problem"));
  return list_line("licence", {text(*l, "license"), text(*l, "name"), text(*l, "link"), "by " + text(*l, "source")});
}

std::string files(const json::object& r) {
  const json::array& all = r.at("files").as_array();
  std::string out = "files\n", missing;
  size_t absent = 0, shown = 0;
  for (const json::value& entry : all) {
    const json::object& f = entry.as_object();
    if (text(f, "state") == "missing") {
      if (++absent <= kMostListed) missing += cat("  missing  ", text(f, "name"), "\n");
      continue;
    }
    const bool hashed = f.contains("sha256");
    if (!hashed && text(f, "state") == "whole" && ++shown > kMostListed) continue;
    out += cat("  ", text(f, "name"), "  ", bytes_text(number(f, "bytes")), "  ", text(f, "state"), "\n");
    if (f.contains("problem")) out += cat("    ", text(f, "problem"), "\n");
    if (f.contains("header_sha256")) out += cat("    header sha256 ", text(f, "header_sha256"), "\n");
    if (f.contains("recorded_sha256")) out += cat("    sha256 by pull  ", text(f, "recorded_sha256"), "\n");
    if (hashed) out += cat("    sha256 ", text(f, "sha256"), "\n");
    if (text(f, "hash_check") == "differs") out += "    DIFFERS from what pull recorded\n";
  }
  if (shown > kMostListed) out += cat("  and ", shown - kMostListed, " more that are whole\n");
  out += missing;
  if (absent > kMostListed) out += cat("  missing  and ", absent - kMostListed, " more\n");
  if (absent) out += cat("  ", all.size() - absent, " of ", all.size(), " files are here\n");
  return out;
}

std::string tensor_lines(const json::array& tensors) {
  std::vector<std::vector<std::string>> rows = {{"tensor", "type", "shape", "bytes"}};
  for (const json::value& entry : tensors) {
    const json::object& t = entry.as_object();
    const json::value& bytes = t.at("bytes");
    rows.push_back({text(t, "name"), text(t, "type"), to_json(t.at("shape")),
                    bytes.is_null() ? "unknown" : count_text(number(t, "bytes"))});
  }
  return "tensors (shapes outermost dimension first)\n" + table(rows);
}

std::string imatrix(const json::object& metadata) {
  std::string out;
  for (const auto& [key, value] : metadata)
    if (key.starts_with("imatrix.")) out += line(one_line(key), value_text(value));
  return out;
}

}  // namespace

std::string count_text(uint64_t n) {
  if (n == ~uint64_t{0}) return "more than 1.8e19";
  std::string digits = std::to_string(n);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
  constexpr std::array<std::pair<double, const char*>, 3> kUnits = {{{1e12, " T"}, {1e9, " B"}, {1e6, " M"}}};
  for (const auto& [unit, name] : kUnits)
    if (static_cast<double>(n) >= unit)
      return cat(digits, " (", short_number(static_cast<double>(n) / unit), name, ")");
  return digits;
}

std::string bytes_text(uint64_t n) {
  if (n == ~uint64_t{0}) return "more than 16 EiB";
  constexpr std::array<const char*, 7> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto x = static_cast<double>(n);
  size_t unit = 0;
  for (; x >= 1024 && unit + 1 < kUnits.size(); ++unit) x /= 1024;
  std::ostringstream out;
  out << std::fixed << std::setprecision(unit == 0 ? 0 : unit < 3 ? 1 : 2) << x << " " << kUnits[unit];
  return out.str();
}

std::string one_line(std::string_view text) {
  std::string out;
  for (const char c : sanitized(text))
    if (c == '\n' || c == '\t')
      append_utf8(out, 0x2400 + static_cast<char32_t>(c));
    else
      out += c;
  return out;
}

std::string value_text(const json::value& value) {
  const std::string all = to_json(value);
  if (all.size() <= kLongestValue) return all;
  return all.substr(0, valid_utf8_prefix(std::string_view(all).substr(0, kLongestValue))) + "...";
}

std::string inspect_text(const json::object& r, bool whole_sample) {
  std::string out = head(r) + parameters(r.at("parameters").as_object()) + hyper_parameters(r.at("config").as_object());
  out += imatrix(r.at("metadata").as_object());
  out += types(r.at("types").as_array());
  if (const json::object* m = part(r, "memory")) out += memory(*m);
  out += tokens(r) + chat_template(r, whole_sample) + licence(r);
  if (const json::object* pull = part(r, "pull"))
    out += list_line(
        "pulled", {text(*pull, "repository"), text(*pull, "revision"), text(*pull, "commit"), text(*pull, "problem")});
  if (r.contains("weights_id")) out += line("weights id", value_text(r.at("weights_id")));
  out += files(r);
  if (const json::value* tensors = r.if_contains("tensor_table")) out += tensor_lines(tensors->as_array());
  for (const json::value& note : r.at("notes").as_array()) out += cat("note: ", one_line(note.as_string()), "\n");
  for (const json::value& problem : r.at("problems").as_array())
    out += cat("problem: ", one_line(problem.as_string()), "\n");
  return sanitized(out);
}

}  // namespace fathom

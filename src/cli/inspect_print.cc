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

constexpr size_t kColumns = 80, kLabel = 15, kLongestValue = 100, kLongestText = 300, kMostListed = 12,
                 kSampleLines = 8;

/// At most `limit` bytes, and "..." where there are more.
std::string cut(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  return cat(text.substr(0, valid_utf8_prefix(text.substr(0, limit))), "...");
}

std::string text(const json::object& object, std::string_view key, size_t limit = kLongestText) {
  const json::value* value = object.if_contains(key);
  return value && value->is_string() ? one_line(cut(value->get_string(), limit)) : "";
}
uint64_t number(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value && value->is_number() ? value->to_number<uint64_t>() : 0;
}
const json::object* part(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  return value ? value->if_object() : nullptr;
}

/// `text` behind `before`, broken at spaces into lines of 80 columns, the later ones indented; a longer word stays
/// whole.
std::string wrapped(std::string before, std::string_view text, size_t indent) {
  std::string out;
  bool empty = true;  // no word in this line yet
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!empty && display_width(before) + 1 + display_width(word) > kColumns) {
      out += before + "\n";
      before = std::string(indent, ' ');
      empty = true;
    }
    before += cat(empty ? "" : " ", word);
    empty = false;
  }
  return out + before.substr(0, before.find_last_not_of(' ') + 1) + "\n";
}

std::string line(std::string_view label, const std::string& value) {
  return wrapped(cat(label, std::string(label.size() < kLabel ? kLabel - label.size() : 1, ' ')), value, kLabel);
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
  std::string out = line("model", text(r, "path", std::string::npos));
  out += line("format", cat(text(r, "container"), ", ", files, ", ", count_text(number(r, "tensors")), " tensors, ",
                            bytes_text(number(r, "tensor_bytes")), state));
  if (text(r, "content") != "model") out += line("content", text(r, "content"));
  const std::string type = text(r.at("config").as_object(), "model_type");
  out += list_line("architecture", {text(r, "architecture"), type.empty() ? "" : "model_type " + type});
  if (r.contains("run_problem") && text(r, "content") == "model") out += line("cannot run", text(r, "run_problem"));
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
    if (rows.size() > kMostListed) {
      rows.push_back({cat("and ", mix.size() - kMostListed, " more")});
      break;
    }
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
  std::string out = wrapped("",
                            cat("memory, profile ", text(m, "profile"), ", cache ", text(m, "cache_type"), ", ",
                                bytes_text(number(m, "kv_per_token")), " a token, batch ", number(m, "batch"),
                                source == "tensors" ? "" : cat(" (weights estimated by the ", source, ")")),
                            2);
  std::vector<std::vector<std::string>> rows = {{"context", "weights", "cache", "scratch", "together"}};
  for (const json::value& entry : m.at("contexts").as_array()) {
    const json::object& c = entry.as_object();
    rows.push_back({count_text(number(c, "ctx")), bytes_text(number(m, "weights")), bytes_text(number(c, "kv")),
                    bytes_text(number(m, "scratch")), bytes_text(number(c, "total"))});
  }
  out += table(rows);
  const std::string free = bytes_text(number(m, "available")) + " are free";
  if (m.at("fits_ctx").is_null()) return out + "  does not fit here: " + free + "\n";
  return out + cat("  here a run would take a context of ", count_text(number(m, "fits_ctx")), ": ", free, "\n");
}

std::string token(const json::object& t) {
  return cat(t.contains("role") ? text(t, "role") + " " : "", number(t, "id"), " ", value_text(t.at("text")));
}

/// The first of `count` tokens.
std::string token_line(const char* label, const json::array& list, size_t count) {
  const size_t shown = std::min(list.size(), kMostListed);
  std::string all;
  for (size_t i = 0; i < shown; ++i) all += (i ? ", " : "") + token(list[i].as_object());
  if (count > shown) all += cat(" and ", count - shown, " more");
  return all.empty() ? "" : line(label, all);
}

std::string tokens(const json::object& r) {
  const json::object* t = part(r, "tokenizer");
  if (!t) return line("tokenizer", "none");
  if (t->contains("problem")) return line("tokenizer", "cannot be read: " + text(*t, "problem"));
  std::string out = list_line("tokenizer", {count_text(number(*t, "tokens")) + " tokens",
                                            count_text(number(*t, "merges")) + " merges", text(*t, "pre")});
  const json::object& control = t->at("control").as_object();
  out += token_line("special tokens", t->at("special").as_array(), t->at("special").as_array().size());
  out += token_line("ends with", t->at("end_of_generation").as_array(), t->at("end_of_generation").as_array().size());
  out += token_line("control tokens", control.at("first").as_array(), number(control, "count"));
  return out;
}

/// The rendered sample; its first lines, unless it is wanted whole.
std::string sample(std::string_view rendered, bool whole) {
  std::string out;
  for (size_t shown = 0; !rendered.empty(); ++shown) {
    if (!whole && shown == kSampleLines) return out + "    ... (--render shows all of it)\n";
    const size_t end = std::min(rendered.find('\n'), rendered.size());
    const std::string_view one = rendered.substr(0, end);
    out += cat("    ", whole ? std::string(one) : cut(one, kColumns - 8), "\n");
    rendered.remove_prefix(std::min(end + 1, rendered.size()));
  }
  return out;
}

std::string chat_template(const json::object& r, bool whole_sample) {
  const json::object* t = part(r, "chat_template");
  if (!t) return line("chat template", "none");
  if (t->contains("problem")) return line("chat template", "cannot be read: " + text(*t, "problem"));
  std::string out = line("chat template", cat(count_text(number(*t, "bytes")), " bytes, sha256 ", text(*t, "sha256")));
  if (t->contains("render_problem")) return out + line("  sample", "cannot be rendered: " + text(*t, "render_problem"));
  return out + "  sample\n" + sample(t->at("rendered").as_string(), whole_sample);
}

std::string licence(const json::object& r) {
  const json::object* l = part(r, "license");
  if (!l) return line("licence", "not stated");
  if (l->contains("problem")) return line("licence", text(*l, "problem"));
  return list_line("licence", {text(*l, "license"), text(*l, "name"), text(*l, "link"), "by " + text(*l, "source")});
}

std::string file(const json::object& f) {
  const std::string state = text(f, "state");
  if (state == "missing") return cat("  ", text(f, "name"), "  missing\n");
  std::string out = cat("  ", text(f, "name"), "  ", bytes_text(number(f, "bytes")), "  ", state, "\n");
  if (f.contains("problem")) out += wrapped("    ", text(f, "problem", std::string::npos), 4);
  for (const auto& [key, label] :
       {std::pair("header_sha256", "header"), std::pair("recorded_sha256", "pulled"), std::pair("sha256", "sha256")})
    if (f.contains(key)) out += cat("    ", label, " ", text(f, key), "\n");
  if (text(f, "hash_check") == "differs") out += "    DIFFERS from what pull recorded\n";
  return out;
}

/// The first of each state, but all whose content was hashed.
std::string files(const json::object& r) {
  const json::array& all = r.at("files").as_array();
  std::string out = "files\n";
  for (const char* state : {"whole", "unfinished", "broken", "missing"}) {
    size_t count = 0;
    for (const json::value& entry : all) {
      const json::object& f = entry.as_object();
      if (text(f, "state") != state) continue;
      if (f.contains("sha256") || ++count <= kMostListed) out += file(f);
    }
    if (count > kMostListed) out += cat("  and ", count - kMostListed, " more: ", state, "\n");
  }
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
  for (const char* key : {"imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"})
    if (const json::value* value = metadata.if_contains(key)) out += line(key, value_text(*value));
  return out;
}

std::string key_lines(const json::object& metadata) {
  std::string out = "keys\n";
  for (const auto& [key, value] : metadata)
    out += wrapped("  ", cat(one_line(cut(key, kLongestText)), " = ", value_text(value)), 6);
  return out;
}

/// "note: ..." for the first lines of a list.
std::string remarks(const char* label, const json::array& list) {
  std::string out;
  for (size_t i = 0; i < std::min(list.size(), kMostListed); ++i)
    out += wrapped(cat(label, ": "), one_line(list[i].as_string()), 2);
  if (list.size() > kMostListed) out += cat(label, ": and ", list.size() - kMostListed, " more like these\n");
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

std::string value_text(const json::value& value) { return cut(to_json(value), kLongestValue); }

std::string inspect_text(const json::object& r, const InspectView& view) {
  std::string out = head(r) + parameters(r.at("parameters").as_object()) + hyper_parameters(r.at("config").as_object());
  out += imatrix(r.at("metadata").as_object());
  out += types(r.at("types").as_array());
  if (const json::object* m = part(r, "memory")) out += memory(*m);
  out += tokens(r) + chat_template(r, view.whole_sample) + licence(r);
  if (const json::object* pull = part(r, "pull"))
    out += list_line(
        "pulled", {text(*pull, "repository"), text(*pull, "revision"), text(*pull, "commit"), text(*pull, "problem")});
  if (r.contains("weights_id")) out += line("weights id", value_text(r.at("weights_id")));
  out += files(r);
  if (view.keys) out += key_lines(r.at("metadata").as_object());
  if (const json::value* tensors = r.if_contains("tensor_table")) out += tensor_lines(tensors->as_array());
  out += remarks("note", r.at("notes").as_array()) + remarks("problem", r.at("problems").as_array());
  return sanitized(out);
}

}  // namespace fathom

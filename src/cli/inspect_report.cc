#include "cli/inspect_report.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/checked.h"
#include "cli/inspect_memory.h"
#include "cli/inspect_texts.h"
#include "formats/model_header_count.h"
#include "hub/sha.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr size_t kLongestString = 4096, kLongestArray = 64;

/// config.json's name (and its older spellings) and GGUF's behind "{architecture}.".
struct FactName {
  const char* config;
  const char* alias;
  const char* gguf;
};
constexpr std::array<FactName, 13> kFacts = {{
    {"num_hidden_layers", "n_layer", "block_count"},
    {"hidden_size", "n_embd", "embedding_length"},
    {"intermediate_size", "n_inner", "feed_forward_length"},
    {"num_attention_heads", "n_head", "attention.head_count"},
    {"num_key_value_heads", "", "attention.head_count_kv"},
    {"head_dim", "", "attention.key_length"},
    {"vocab_size", "", "vocab_size"},
    {"max_position_embeddings", "n_positions", "context_length"},
    {"n_routed_experts", "num_experts", "expert_count"},
    {"num_experts_per_tok", "experts_per_token", "expert_used_count"},
    {"n_shared_experts", "", "expert_shared_count"},
    {"moe_intermediate_size", "", "expert_feed_forward_length"},
    {"num_nextn_predict_layers", "", "nextn_predict_layers"},
}};

std::string architecture_of(const ModelHeader& header) {
  if (header.gguf) return gguf_text(*header.gguf, "general.architecture");
  if (const json::object* config = header.config_json.if_object())
    if (const json::value* names = config->if_contains("architectures");
        names && names->is_array() && !names->get_array().empty() && names->get_array()[0].is_string())
      return std::string(names->get_array()[0].get_string());
  return "";
}

/// The usual names in a configuration that this program has no reader for; a larger model's language part too.
json::object raw_config_facts(const json::object& config) {
  json::object out;
  const json::object* nested = nullptr;
  for (const char* key : {"language_config", "text_config"})
    if (const json::value* part = config.if_contains(key); part && part->is_object()) nested = &part->get_object();
  for (const FactName& fact : kFacts)
    for (const json::object* from : {&config, nested})
      for (const char* name : {fact.config, fact.alias})
        if (const json::value* value = from && *name ? from->if_contains(name) : nullptr;
            value && value->is_number() && !out.contains(fact.config))
          out[fact.config] = *value;
  if (const json::value* type = config.if_contains("model_type"); type && type->is_string())
    out["model_type"] = utf8_lossy(std::string_view(type->get_string()));
  return out;
}

json::object raw_gguf_facts(const GgufMetadata& metadata) {
  json::object out;
  const std::string architecture = gguf_text(metadata, "general.architecture");
  for (const FactName& fact : kFacts) {
    const std::string key = cat(architecture, ".", fact.gguf);
    for (const GgufMetadata::Entry& entry : metadata.entries())
      if (entry.key == key) out[fact.config] = gguf_value(metadata, entry);
  }
  return out;
}

json::object rope_facts(const ModelConfig& c) {
  constexpr std::array<const char*, 4> kNames = {"default", "linear", "llama3", "yarn"};
  const RopeScaling& s = c.rope_scaling;
  json::object out{{"rope_theta", c.rope_theta}, {"rope_type", kNames[static_cast<size_t>(s.rope_type)]}};
  if (s.rope_type == RopeType::kDefault) return out;
  out["factor"] = s.factor;
  if (s.rope_type == RopeType::kLinear) return out;
  out["original_max_position_embeddings"] = s.original_max_position_embeddings;
  if (s.rope_type == RopeType::kLlama3) {
    out["low_freq_factor"] = s.low_freq_factor;
    out["high_freq_factor"] = s.high_freq_factor;
    return out;
  }
  out["beta_fast"] = s.beta_fast;
  out["beta_slow"] = s.beta_slow;
  if (s.mscale_all_dim != 0) out["mscale"] = s.mscale, out["mscale_all_dim"] = s.mscale_all_dim;
  if (s.attn_factor) out["attn_factor"] = *s.attn_factor;
  if (s.attention_factor) out["attention_factor"] = *s.attention_factor;
  return out;
}

json::object known_config_facts(const ModelConfig& c) {
  json::object out{{"model_type", c.model_type},
                   {"num_hidden_layers", c.num_hidden_layers},
                   {"hidden_size", c.hidden_size},
                   {"intermediate_size", c.intermediate_size},
                   {"num_attention_heads", c.num_attention_heads},
                   {"num_key_value_heads", c.num_key_value_heads},
                   {"head_dim", c.head_dim},
                   {"vocab_size", c.vocab_size},
                   {"max_position_embeddings", c.max_position_embeddings},
                   {"tie_word_embeddings", c.tie_word_embeddings},
                   {"rms_norm_eps", c.rms_norm_eps}};
  if (c.is_mla()) {
    out["q_lora_rank"] = c.q_lora_rank;
    out["kv_lora_rank"] = c.kv_lora_rank;
    out["qk_nope_head_dim"] = c.qk_nope_head_dim;
    out["qk_rope_head_dim"] = c.qk_rope_head_dim;
    out["v_head_dim"] = c.v_head_dim;
  }
  if (c.n_routed_experts) {
    out["n_routed_experts"] = c.n_routed_experts;
    out["num_experts_per_tok"] = c.num_experts_per_tok;
    out["n_shared_experts"] = c.n_shared_experts;
    out["moe_intermediate_size"] = c.moe_intermediate_size;
    out["first_k_dense_replace"] = c.first_k_dense_replace;
    out["n_group"] = c.n_group;
    out["topk_group"] = c.topk_group;
    out["scoring_func"] = c.scoring_func;
    out["topk_method"] = c.topk_method;
    out["norm_topk_prob"] = c.norm_topk_prob;
    out["routed_scaling_factor"] = c.routed_scaling_factor;
  }
  if (c.num_nextn_predict_layers) out["num_nextn_predict_layers"] = c.num_nextn_predict_layers;
  out["rope"] = rope_facts(c);
  return out;
}

/// A count in config_facts(); 0 where there is none.
uint64_t count_in(const json::object& config, std::string_view key) {
  const json::value* value = config.if_contains(key);
  if (value && value->is_int64()) return static_cast<uint64_t>(std::max<int64_t>(value->get_int64(), 0));
  return value && value->is_uint64() ? value->get_uint64() : 0;
}

json::object count_json(const ParameterCount& count, const char* source) {
  return {{"total", count.total},           {"active", count.active}, {"embedding", count.embedding},
          {"routed_experts", count.routed}, {"mtp", count.mtp},       {"scales", count.scales},
          {"other", count.other},           {"source", source}};
}

/// Types by the bytes that they take, the largest first. FP8's scales have a line of their own.
json::array type_mix(const ModelHeader& header) {
  struct Line {
    uint64_t tensors = 0, values = 0, bytes = 0;
    bool known = true;
  };
  std::map<std::string, Line> lines;
  for (const HeaderTensor& t : header.tensors) {
    const bool scale = t.info.name.ends_with("_scale_inv");
    Line& line = lines[utf8_lossy(t.type) + (scale ? " (scales)" : "")];
    ++line.tensors;
    line.known = t.type_known || header.kind != ModelHeader::Kind::kGguf;
    line.values = checked_add(line.values, t.values()).value_or(~uint64_t{0});
    line.bytes = checked_add(line.bytes, t.info.size_bytes).value_or(~uint64_t{0});
  }
  std::vector<std::pair<std::string, Line>> order(lines.begin(), lines.end());
  std::stable_sort(order.begin(), order.end(),
                   [](const auto& a, const auto& b) { return a.second.bytes > b.second.bytes; });
  json::array out;
  for (const auto& [type, line] : order) {
    json::object entry{{"type", type},
                       {"tensors", line.tensors},
                       {"values", line.values},
                       {"bytes", nullptr},
                       {"bits_per_weight", nullptr}};
    if (line.known) entry["bytes"] = line.bytes;
    if (line.known && line.values)
      entry["bits_per_weight"] = 8 * static_cast<double>(line.bytes) / static_cast<double>(line.values);
    out.push_back(std::move(entry));
  }
  return out;
}

std::string relative_name(const ModelHeader& header, const std::filesystem::path& path) {
  return utf8_lossy(header.kind == ModelHeader::Kind::kFolder ? path.lexically_relative(header.path).string()
                                                              : path.filename().string());
}

json::array file_table(const ModelHeader& header) {
  constexpr std::array<const char*, 4> kStates = {"whole", "unfinished", "missing", "broken"};
  json::array out;
  for (const ModelFile& f : header.files) {
    json::object entry{{"name", relative_name(header, f.path)},
                       {"state", kStates[static_cast<size_t>(f.state)]},
                       {"bytes", f.size_bytes},
                       {"needed_bytes", f.needed_bytes ? json::value(f.needed_bytes) : json::value(nullptr)},
                       {"tensors", f.tensors}};
    if (!f.problem.empty()) entry["problem"] = utf8_lossy(f.problem);
    if (f.header_bytes) {
      entry["header_bytes"] = f.header_bytes;
      entry["header_sha256"] = sha256_of_start(f.path, f.header_bytes);
    }
    out.push_back(std::move(entry));
  }
  return out;
}

json::object gguf_keys(const ModelHeader& header) {
  json::object out;
  if (header.gguf)
    for (const GgufMetadata::Entry& entry : header.gguf->entries())
      out[utf8_lossy(entry.key)] = gguf_value(*header.gguf, entry);
  for (const auto& [key, value] : header.safetensors) out[utf8_lossy(key)] = utf8_lossy(value);
  return out;
}

/// What the file is: "model", "imatrix", "vocabulary" (a tokenizer without weights), or general.type's own word.
std::string content_of(const ModelHeader& header) {
  if (!header.gguf) return "model";
  const std::string type = gguf_text(*header.gguf, "general.type");
  if ((type.empty() || type == "model") && header.tensors.empty() && header.complete() &&
      header.gguf->has("tokenizer.ggml.tokens"))
    return "vocabulary";
  return type.empty() ? "model" : type;
}

/// Why `fathom run` would refuse the model; empty where nothing in the headers speaks against it.
std::string run_problem(const ModelHeader& header) {
  if (!header.config) return header.config_problem;
  if (!header.complete()) return "the model is not complete";
  if (header.tensors.empty()) return "it has no weights";
  std::set<std::string> foreign;
  for (const HeaderTensor& t : header.tensors)
    if (!t.type_known) foreign.insert(t.type);
  std::string names;
  for (const std::string& type : foreign) names += (names.empty() ? "" : ", ") + type;
  return names.empty() ? "" : "tensors have types that are not read here: " + names;
}

/// A whole model whose tensors are not those of its configuration.
std::string count_note(const ModelHeader& header, const json::object& parameters) {
  if (!header.config || !header.complete() || header.tensors.empty()) return "";
  const uint64_t implied = count_parameters(*header.config).total, found = parameters.at("total").to_number<uint64_t>();
  if (implied == found) return "";
  return cat("the configuration implies ", implied, " parameters, the tensors have ", found);
}

json::array texts(const std::vector<std::string>& lines) {
  json::array out;
  for (const std::string& line : lines) out.push_back(json::value(utf8_lossy(line)));
  return out;
}

}  // namespace

std::string sha256_of_start(const std::filesystem::path& path, uint64_t size) {
  constexpr uint64_t kStep = 1 << 20;
  const InputFile file(path);
  Sha256 hash;
  std::string block;
  for (uint64_t at = 0; at < size; at += block.size()) {
    block.resize(std::min(kStep, size - at));
    file.read(at, block.data(), block.size());
    hash.update(block);
  }
  return hash.hex();
}

std::string gguf_text(const GgufMetadata& metadata, std::string_view key) {
  try {
    return metadata.string(key).value_or("");
  } catch (const Error&) {  // of another type
    return "";
  }
}

json::value gguf_value(const GgufMetadata& metadata, const GgufMetadata::Entry& entry) {
  constexpr std::array<const char*, 13> kTypes = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                  "bool", "string", "array", "u64", "i64", "f64"};
  try {
    if (entry.type == GgufType::kString) {
      if (entry.size > kLongestString) return json::object{{"string_bytes", entry.size - 8}};
      return json::value(utf8_lossy(*metadata.string(entry.key)));
    }
    if (entry.type == GgufType::kArray) {
      json::object out{{"array", kTypes[static_cast<size_t>(entry.element)]}, {"count", entry.count}};
      if (entry.count > kLongestArray || entry.size > kLongestString) return out;
      if (entry.element == GgufType::kString) {
        json::array values;
        for (const std::string& text : metadata.strings(entry.key)) values.push_back(json::value(utf8_lossy(text)));
        out["values"] = std::move(values);
      } else if (entry.element < GgufType::kF32 || entry.element == GgufType::kI64 || entry.element == GgufType::kU64) {
        const std::vector<int64_t> values = metadata.integers(entry.key);
        out["values"] = json::array(values.begin(), values.end());
      }
      return out;
    }
    if (entry.type == GgufType::kBool) return *metadata.boolean(entry.key);
    if (entry.type == GgufType::kF32 || entry.type == GgufType::kF64) return *metadata.number(entry.key);
    return metadata.integers(entry.key).at(0);
  } catch (const Error&) {  // a boolean of 7, an integer above 2^63: shown as what cannot be read
    return nullptr;
  }
}

json::object config_facts(const ModelHeader& header) {
  json::object out;
  if (header.config)
    out = known_config_facts(*header.config);
  else if (header.gguf)
    out = raw_gguf_facts(*header.gguf);
  else if (const json::object* config = header.config_json.if_object())
    out = raw_config_facts(*config);
  return out;
}

json::object parameter_facts(const ModelHeader& header, const json::object& config) {
  const ExpertUse use{header.config ? header.config->num_hidden_layers : 0, count_in(config, "n_routed_experts"),
                      count_in(config, "num_experts_per_tok")};
  const ParameterCount here = count_parameters(header.tensors, use);
  if (header.complete() || !header.config) return count_json(here, "tensors");
  json::object out = count_json(count_parameters(*header.config), "configuration");
  out["here"] = count_json(here, "tensors");
  return out;
}

json::array tensor_table(const ModelHeader& header) {
  json::array out;
  for (const HeaderTensor& t : header.tensors) {
    json::array shape;
    for (size_t i = 0; i < t.info.shape.rank(); ++i) shape.push_back(json::value(t.info.shape[i]));
    const bool sized = t.type_known || header.kind != ModelHeader::Kind::kGguf;
    out.push_back(json::object{{"name", utf8_lossy(t.info.name)},
                               {"type", utf8_lossy(t.type)},
                               {"shape", std::move(shape)},
                               {"bytes", sized ? json::value(t.info.size_bytes) : json::value(nullptr)},
                               {"offset", t.offset},
                               {"file", relative_name(header, header.files[t.file].path)}});
  }
  return out;
}

json::object inspect_report(const ModelHeader& header, const Settings& settings, uint64_t batch) {
  uint64_t bytes = 0;
  for (const HeaderTensor& t : header.tensors) bytes = checked_add(bytes, t.info.size_bytes).value_or(~uint64_t{0});
  json::object out{{"format", "fathom.inspect"},
                   {"version", 1},
                   {"path", utf8_lossy(header.path.string())},
                   {"container", header.format},
                   {"content", utf8_lossy(content_of(header))},
                   {"complete", header.complete()},
                   {"runnable", run_problem(header).empty()},
                   {"architecture", utf8_lossy(architecture_of(header))}};
  const json::object config = config_facts(header);
  out["config"] = config;
  if (!header.config) out["config_problem"] = utf8_lossy(header.config_problem);
  if (const std::string problem = run_problem(header); !problem.empty()) out["run_problem"] = utf8_lossy(problem);
  out["parameters"] = parameter_facts(header, config);
  out["tensors"] = header.tensors.size();
  out["absent_tensors"] = header.absent_tensors;
  out["tensor_bytes"] = bytes;
  out["types"] = type_mix(header);
  out["memory"] = memory_facts(header, out["parameters"].as_object(), settings, batch);
  add_texts(header, out);
  out["files"] = file_table(header);
  add_pull_record(header, out);
  out["metadata"] = gguf_keys(header);
  out["notes"] = texts(header.notes);
  if (const std::string note = count_note(header, out["parameters"].as_object()); !note.empty())
    out["notes"].as_array().push_back(json::value(note));
  out["problems"] = texts(header.problems);
  return out;
}

}  // namespace fathom

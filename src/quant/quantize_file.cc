#include "quant/quantize_file.h"

#include <algorithm>

#include "base/thread_pool.h"
#include "formats/gguf_writer.h"
#include "quant/quantize_tensor.h"
#include "tensor/dequantize.h"

namespace fathom {
namespace {

constexpr uint32_t kQuantizationVersion = 2;  // of every block format written here

bool is_quantized(DType type) { return info(type).block_size > 1; }

bool takes_importance(DType type) { return is_quantized(type) && type != DType::kQ8_0; }

/// Matrices in a stack: everything above rows and columns.
size_t matrices_of(const Shape& shape) {
  size_t n = 1;
  for (size_t i = 0; i + 2 < shape.rank(); ++i) n *= shape[i];
  return n;
}

/// Adds up what many tensors have in common, so that a note names the first few and counts the rest.
struct Names {
  std::vector<std::string> first;
  size_t count = 0;
  void add(const std::string& name) {
    if (++count <= 3) first.push_back(name);
  }
  std::string text() const {
    std::string out;
    for (const std::string& name : first) out += (out.empty() ? "" : ", ") + printable(name);
    return count > first.size() ? cat(out, " and ", count - first.size(), " more") : out;
  }
};

class Planner {
 public:
  Planner(const GgufFile& in, const QuantizeOptions& options)
      : in_(in), options_(options), mixture_(*options.mixture.mixture) {}

  QuantizePlan plan() {
    std::vector<TensorInfo> tensors = in_.tensors();
    sort_for_writing(tensors);
    MixtureOptions mixture = options_.mixture;
    mixture.has_importance = options_.importance != nullptr;
    const std::vector<TensorChoice> choices = choose_types(tensors, mixture_model(in_.metadata()), mixture);
    for (size_t i = 0; i < tensors.size(); ++i) add(tensors[i], choices[i]);
    describe();
    return std::move(plan_);
  }

 private:
  void add(const TensorInfo& tensor, const TensorChoice& choice) {
    PlannedTensor p{.source = *in_.locate(tensor.name), .target = tensor, .wanted = choice.wanted};
    p.target.dtype = choice.type;
    p.target.size_bytes = stored_bytes(where(tensor), choice.type, tensor.shape);
    if (choice.type != tensor.dtype) {
      require_convertible(tensor, choice.type);
      p.importance = importance_for(tensor, choice.type);
    }
    if (choice.wanted) fallbacks_[{*choice.wanted, choice.type}].add(tensor.name);
    plan_.bytes_before += tensor.size_bytes;
    plan_.bytes_after += p.target.size_bytes;
    plan_.values += tensor.shape.count();
    plan_.tensors.push_back(std::move(p));
  }

  std::string where(const TensorInfo& t) const { return cat(in_.metadata().what(), ": tensor ", printable(t.name)); }

  void require_convertible(const TensorInfo& tensor, DType to) const {
    if (!can_dequantize(tensor.dtype))
      throw Error(cat(where(tensor), ": expected a type that can become ", to, ", found ", tensor.dtype));
    if (is_quantized(tensor.dtype) && !options_.allow_requantize)
      throw Error(cat(where(tensor), ": is quantised already (", tensor.dtype, "); --allow-requantize makes it ", to,
                      " with the losses of both"));
  }

  const ImportanceEntry* importance_for(const TensorInfo& tensor, DType to) {
    const bool outer = tensor.name == "token_embd.weight" || tensor.name == "output.weight";
    const bool needed = mixture_.file_type == FileType::kQ2_K_S && to == DType::kQ2_K && !outer;
    const ImportanceEntry* entry = options_.importance ? find_importance(tensor) : nullptr;
    if (!entry && needed) {
      const std::string why =
          cat(where(tensor), ": Q2_K_S: expected an importance matrix (--imatrix), found none for it");
      if (!options_.dry_run) throw Error(why);
      if (!needs_importance_) plan_.notes.push_back(why);
      needs_importance_ = true;
    }
    if (!entry && options_.importance && takes_importance(to)) without_importance_.add(tensor.name);
    return entry;
  }

  const ImportanceEntry* find_importance(const TensorInfo& tensor) {
    const auto found = options_.importance->entries.find(tensor.name);
    if (found == options_.importance->entries.end()) return nullptr;
    const size_t expected = tensor.shape.back() * matrices_of(tensor.shape), size = found->second.in_sum2.size();
    if (size == expected) return &found->second;
    const std::string what =
        cat("importance of ", printable(tensor.name), ": expected ", expected, " values, found ", size);
    if (tensor.name != "token_embd.weight") throw Error(what);
    plan_.notes.push_back(what + ": not used");  // gathered there where the embedding is the output too
    return nullptr;
  }

  void describe() {
    for (const auto& [types, names] : fallbacks_)
      plan_.notes.push_back(cat(names.count, names.count == 1 ? " tensor" : " tensors", " fell back from ", types.first,
                                " (blocks of ", info(types.first).block_size, " values) to ", types.second,
                                " because of the row length: ", names.text()));
    if (without_importance_.count)
      plan_.notes.push_back(
          cat("no importances for ", without_importance_.count,
              without_importance_.count == 1 ? " tensor: " : " tensors: ", without_importance_.text()));
  }

  const GgufFile& in_;
  const QuantizeOptions& options_;
  const Mixture& mixture_;
  QuantizePlan plan_;
  std::map<std::pair<DType, DType>, Names> fallbacks_;
  Names without_importance_;
  bool needs_importance_ = false;
};

void refuse_same_file(const GgufFile& in, const std::filesystem::path& out) {
  const std::filesystem::path source(in.metadata().what());
  std::vector<std::filesystem::path> parts{source};
  if (const std::optional<GgufSplitName> split = gguf_split_name(source.filename().string()); split && in.parts() > 1)
    for (uint64_t i = 1; i <= in.parts(); ++i) parts.push_back(gguf_part_path(source.parent_path(), *split, i));
  for (const std::filesystem::path& part : parts) {
    std::error_code absent;
    if (std::filesystem::equivalent(part, out, absent) && !absent)
      throw Error(cat(out.string(), ": expected another file than the input, found the same"));
  }
}

/// The input's metadata, with file_type, quantization_version and quantize.imatrix.* set and split.* left out.
GgufKeys quantized_keys(const GgufMetadata& in, const QuantizeOptions& options) {
  GgufKeys keys;
  keys.copy(in);
  // general.alignment: the writer's own is the default.
  for (const char* key : {"split.no", "split.count", "split.tensors.count", "general.alignment",
                          "general.quantization_version", "general.file_type"})
    keys.remove(key);
  keys.set_u32("general.quantization_version", kQuantizationVersion);
  keys.set_u32("general.file_type", static_cast<uint32_t>(options.mixture.mixture->file_type));
  if (!options.importance) return keys;
  const ImportanceMatrix& m = *options.importance;
  keys.set_string("quantize.imatrix.file", options.importance_file);
  if (!m.datasets.empty()) keys.set_string("quantize.imatrix.dataset", m.datasets[0]);
  keys.set_u32("quantize.imatrix.entries_count", static_cast<uint32_t>(m.entries.size()));
  if (m.chunk_count) keys.set_u32("quantize.imatrix.chunks_count", m.chunk_count);
  return keys;
}

}  // namespace

QuantizePlan plan_quantize(const GgufFile& in, const QuantizeOptions& options) { return Planner(in, options).plan(); }

void quantize_file(const GgufFile& in, const QuantizePlan& plan, const std::filesystem::path& out,
                   const QuantizeOptions& options, const WorkProgress& progress) {
  refuse_same_file(in, out);
  require_room(out, plan.bytes_after);  // before the file is begun; below with its header
  std::vector<TensorInfo> targets;
  for (const PlannedTensor& t : plan.tensors) targets.push_back(t.target);
  GgufWriter writer(out, quantized_keys(in.metadata(), options), std::move(targets));
  ThreadPool pool(options.threads);
  TensorQuantizer quantizer(in.metadata().what(), pool, writer);
  uint64_t done = 0;
  for (const PlannedTensor& t : plan.tensors)
    quantizer.run(t, [&](uint64_t bytes) {
      done += bytes;
      if (progress) progress(done, plan.bytes_before);
    });
  writer.commit();
}

}  // namespace fathom

// Makes an importance matrix: runs a text through the model in chunks and sums the squares of what each weight is
// multiplied with. Called by cli/imatrix.cc. On the compute thread.
#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/work.h"
#include "engine/engine.h"
#include "quant/imatrix.h"

namespace fathom {

/// Sums per GGUF tensor name. Experts are counted one by one; the heads of MLA's k_b and v_b (also those that were
/// split out of a joined kv_b) share the count of their tokens, as in llama.cpp.
class ImatrixCollector final : public Observer {
 public:
  /// `output`: output.weight too, which quantisers leave alone by default.
  ImatrixCollector(const ModelConfig& config, bool output) : config_(config), output_(output) {}

  void linear_input(const Weight& w, const Tensor& x) override;
  /// What was seen so far. Throws Error naming a tensor whose inputs were not finite.
  ImportanceMatrix matrix() const;

 private:
  struct Sums {
    size_t columns = 0;
    std::vector<double> in_sum2;   // [matrices * columns]
    std::vector<uint64_t> counts;  // [matrices], or [1] shared by all heads
    size_t heads = 0;              // of MLA seen so far; 0: a plain matrix or a stack of experts
  };
  struct Place {
    Sums* sums = nullptr;  // null: not collected
    size_t matrix = 0;
    bool counts = false;  // of heads the first alone does
  };
  Place place_of(const Weight& w);
  Place head_place(const Weight& w, const std::string& stem);
  Sums& sums_of(const std::string& name, size_t columns, size_t matrices, size_t counts);

  const ModelConfig& config_;
  bool output_;
  std::unordered_map<std::string, Sums> sums_;
  std::unordered_map<const Weight*, Place> places_;
  std::unordered_map<std::string, size_t> heads_seen_;  // by the weights' common name
};

struct ImatrixOptions {
  size_t ctx = 512;     ///< tokens of a chunk; each is a sequence of its own, and begins with BOS where the model does
  size_t chunks = 0;    ///< at most so many; 0: all whole ones
  bool output = false;  ///< output.weight too
};

class ImatrixRun {
 public:
  /// Throws Error where the text has no whole chunk.
  ImatrixRun(Engine& engine, std::vector<TokenId> ids, const ImatrixOptions& options);

  size_t chunks() const { return chunks_; }
  size_t chunks_done() const { return chunks_done_; }
  size_t tokens_left_out() const { return left_out_; }
  /// Progress in tokens. After Interrupted, matrix() has what was seen until then.
  void run(const WorkProgress& progress);
  ImportanceMatrix matrix() const;

 private:
  void forward(KvSequence& kv, std::span<const TokenId> ids);

  Engine& engine_;
  std::vector<TokenId> ids_;
  ImatrixOptions options_;
  ImatrixCollector collector_;
  size_t chunks_ = 0, chunks_done_ = 0, left_out_ = 0;
};

}  // namespace fathom

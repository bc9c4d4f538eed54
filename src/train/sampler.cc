#include "train/sampler.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"

namespace fathom {
namespace {

// The last word of the counters: other uses of the same seed have other words there.
constexpr uint32_t kWindows = 0x77696E64, kEpochs = 0x65706F63;

/// Uniform in [0, n), by the high half of a product with 64 random bits (the bias is n / 2^64).
uint64_t uniform_below(uint64_t n, uint64_t seed, uint64_t step, uint32_t index, uint32_t use) {
  const auto word = philox4x32(seed, {static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), index, use});
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(static_cast<Wide>(uint64_t{word[0]} << 32 | word[1]) * n >> 64);
}

class WindowSampler : public SequenceSampler {
 public:
  WindowSampler(std::span<const TokenId> ids, std::vector<TokenRange> parts, size_t context, size_t count,
                uint64_t seed)
      : ids_(ids), parts_(std::move(parts)), context_(context), count_(count), seed_(seed) {
    if (context == 0 || count == 0)
      throw Error(cat("windows: expected at least 1 of 1 token, found ", count, " of ", context));
    for (const TokenRange& part : parts_) {
      check(part.begin <= part.end && part.end <= ids.size(), "a part is a range of the tokens");
      ends_.push_back((ends_.empty() ? 0 : ends_.back()) + part.size());
    }
    const uint64_t total = ends_.empty() ? 0 : ends_.back();
    if (total <= context)
      throw Error(cat("training text: expected at least ", context + 1, " tokens (context + 1), found ", total));
    places_ = total - context;
  }

  std::vector<Sample> batch(uint64_t step) override {
    std::vector<Sample> out;
    for (uint32_t i = 0; i < count_; ++i) out.push_back(window(uniform_below(places_, seed_, step, i, kWindows)));
    return out;
  }

  uint64_t steps(uint64_t /*epochs*/) override { return 0; }

 private:
  Sample window(uint64_t place) const {
    Sample sample;
    auto part = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), place) - ends_.begin());
    uint64_t at = parts_[part].end - (ends_[part] - place);
    while (sample.ids.size() <= context_) {
      const uint64_t take = std::min(parts_[part].end - at, context_ + 1 - sample.ids.size());
      const auto piece = ids_.subspan(at, take);
      sample.ids.insert(sample.ids.end(), piece.begin(), piece.end());
      if (++part < parts_.size()) at = parts_[part].begin;
    }
    sample.counts.assign(sample.ids.size(), 1);
    sample.counts[0] = 0;  // nothing stands before it
    return sample;
  }

  std::span<const TokenId> ids_;
  std::vector<TokenRange> parts_;
  std::vector<uint64_t> ends_;  // of each part in the stream
  size_t context_, count_;
  uint64_t seed_, places_ = 0;
};

class EpochSampler : public SequenceSampler {
 public:
  EpochSampler(std::vector<Sample> samples, size_t row_tokens, size_t rows, uint64_t seed)
      : samples_(std::move(samples)), row_tokens_(row_tokens), rows_(rows), seed_(seed) {
    if (samples_.empty() || rows == 0)
      throw Error(
          cat("training data: expected samples and at least 1 row a step, found ", samples_.size(), " and ", rows));
    check(samples_.size() <= UINT32_MAX, "samples are counted in 32 bits");
    for (size_t i = 0; i < samples_.size(); ++i) {
      check(samples_[i].counts.size() == samples_[i].ids.size(), "a sample says of each token whether it counts");
      if (samples_[i].ids.empty() || (row_tokens != 0 && samples_[i].ids.size() > row_tokens))
        throw Error(
            cat("training sample ", i, ": expected 1 to ", row_tokens, " tokens, found ", samples_[i].ids.size()));
    }
  }

  std::vector<Sample> batch(uint64_t step) override {
    std::vector<Sample> out;
    for (uint64_t row = step * rows_; row < (step + 1) * rows_; ++row)
      for (const uint32_t i : row_of(row)) out.push_back(samples_[i]);
    return out;
  }

  uint64_t steps(uint64_t epochs) override {
    while (first_rows_.size() <= epochs) add_epoch();
    return (first_rows_[epochs] + rows_ - 1) / rows_;
  }

 private:
  using Rows = std::vector<std::vector<uint32_t>>;

  /// Packs the epoch behind the last known one and notes how many rows it has.
  void add_epoch() {
    const uint64_t epoch = first_rows_.size() - 1;
    packed_ = pack(epoch);
    packed_epoch_ = epoch;
    first_rows_.push_back(first_rows_.back() + packed_.size());
  }

  const std::vector<uint32_t>& row_of(uint64_t row) {
    while (first_rows_.back() <= row) add_epoch();
    const auto after = std::upper_bound(first_rows_.begin(), first_rows_.end(), row);
    const auto epoch = static_cast<uint64_t>(after - first_rows_.begin()) - 1;
    if (packed_epoch_ != epoch) packed_ = pack(epoch), packed_epoch_ = epoch;
    return packed_[row - first_rows_[epoch]];
  }

  Rows pack(uint64_t epoch) const {
    std::vector<uint32_t> order(samples_.size());
    std::iota(order.begin(), order.end(), 0u);
    for (auto i = static_cast<uint32_t>(order.size()); i-- > 1;)  // Fisher and Yates
      std::swap(order[i], order[uniform_below(uint64_t{i} + 1, seed_, epoch, i, kEpochs)]);
    Rows rows;
    std::multimap<size_t, size_t> room;  // tokens free -> row; equal ones in the order in which they came
    for (const uint32_t i : order) {
      if (row_tokens_ == 0) {
        rows.push_back({i});
        continue;
      }
      const size_t size = samples_[i].ids.size();
      const auto fit = room.lower_bound(size);
      const bool found = fit != room.end();
      const size_t row = found ? fit->second : rows.size(), free = found ? fit->first : row_tokens_;
      if (found) {
        room.erase(fit);
      } else {
        rows.emplace_back();
      }
      rows[row].push_back(i);
      if (free > size) room.emplace(free - size, row);
    }
    return rows;
  }

  std::vector<Sample> samples_;
  size_t row_tokens_, rows_;
  uint64_t seed_;
  std::vector<uint64_t> first_rows_{0};  // of epoch e in the endless sequence, and behind the last known epoch
  Rows packed_;                          // of the epoch that was asked for last: samples by index
  uint64_t packed_epoch_ = UINT64_MAX;
};

}  // namespace

std::unique_ptr<SequenceSampler> make_window_sampler(std::span<const TokenId> ids, std::vector<TokenRange> parts,
                                                     size_t context, size_t count, uint64_t seed) {
  return std::make_unique<WindowSampler>(ids, std::move(parts), context, count, seed);
}

std::unique_ptr<SequenceSampler> make_epoch_sampler(std::vector<Sample> samples, size_t row_tokens, size_t rows,
                                                    uint64_t seed) {
  return std::make_unique<EpochSampler>(std::move(samples), row_tokens, rows, seed);
}

}  // namespace fathom

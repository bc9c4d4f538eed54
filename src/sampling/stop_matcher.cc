#include "sampling/stop_matcher.h"

#include <algorithm>

#include "base/error.h"

namespace fathom {

StopMatcher::StopMatcher(const std::vector<std::string>& stops) : nodes_(1) {
  if (stops.size() > kMostStrings)
    throw Error(cat("stop: expected at most ", kMostStrings, " strings, found ", stops.size()));
  size_t bytes = 0;
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty()) throw Error(cat("stop: expected strings that are not empty, found \"\" at index ", i));
    if (stops[i].size() > kMostBytes - bytes)
      throw Error(cat("stop: expected at most ", kMostBytes, " bytes in all, found more at index ", i));
    bytes += stops[i].size();
    insert(stops[i], static_cast<uint32_t>(i));
  }
  link_suffixes();
}

void StopMatcher::insert(const std::string& stop, uint32_t index) {
  uint32_t node = 0;
  for (const char c : stop) {
    const auto byte = static_cast<uint8_t>(c);
    std::optional<uint32_t> to = child(node, byte);
    if (!to) {
      to = static_cast<uint32_t>(nodes_.size());
      std::vector<std::pair<uint8_t, uint32_t>>& next = nodes_[node].next;
      next.insert(std::lower_bound(next.begin(), next.end(), std::pair{byte, uint32_t{0}}), {byte, *to});
      nodes_.emplace_back();
      nodes_.back().depth = nodes_[node].depth + 1;
    }
    node = *to;
  }
  if (!nodes_[node].stop) nodes_[node].stop = index;
  lengths_.push_back(static_cast<uint32_t>(stop.size()));
}

void StopMatcher::link_suffixes() {
  std::vector<uint32_t> by_depth{0};
  by_depth.reserve(nodes_.size());
  for (size_t i = 0; i < by_depth.size(); ++i) {
    const uint32_t node = by_depth[i];
    for (const auto& [byte, to] : nodes_[node].next) {
      by_depth.push_back(to);
      if (node != 0) nodes_[to].fail = step(nodes_[node].fail, byte);
      if (!nodes_[to].stop) nodes_[to].stop = nodes_[nodes_[to].fail].stop;  // a whole prefix is longer than a suffix
    }
  }
}

std::optional<uint32_t> StopMatcher::child(uint32_t node, uint8_t byte) const {
  const std::vector<std::pair<uint8_t, uint32_t>>& next = nodes_[node].next;
  const auto at = std::lower_bound(next.begin(), next.end(), std::pair{byte, uint32_t{0}});
  if (at == next.end() || at->first != byte) return std::nullopt;
  return at->second;
}

uint32_t StopMatcher::step(uint32_t node, uint8_t byte) const {
  while (true) {
    if (const std::optional<uint32_t> to = child(node, byte)) return *to;
    if (node == 0) return 0;
    node = nodes_[node].fail;
  }
}

std::string StopMatcher::feed(std::string_view piece) {
  if (hit_) return {};
  std::string text = std::move(held_);
  held_.clear();
  for (const char c : piece) {
    text.push_back(c);
    node_ = step(node_, static_cast<uint8_t>(c));
    if (!nodes_[node_].stop) continue;
    hit_ = nodes_[node_].stop;
    text.resize(text.size() - lengths_[*hit_]);
    return text;
  }
  held_ = text.substr(text.size() - nodes_[node_].depth);
  text.resize(text.size() - held_.size());
  return text;
}

std::string StopMatcher::finish() {
  node_ = 0;
  return std::exchange(held_, {});
}

}  // namespace fathom

#include "server/app/import_tree.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace fathom {

void ImportTree::add(std::string id, std::string parent, std::optional<AppMessage> message, std::string thinking) {
  if (!by_id_.emplace(id, nodes_.size()).second) return;  // the first of two stays
  nodes_.push_back({std::move(id), std::move(parent), std::move(message), std::move(thinking)});
}

std::vector<AppMessage> ImportTree::take(std::string& leaf) {
  std::vector<std::vector<size_t>> children(nodes_.size());
  std::vector<size_t> roots;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const auto parent = by_id_.find(nodes_[i].parent);
    if (parent == by_id_.end() || parent->second == i)
      roots.push_back(i);
    else
      children[parent->second].push_back(i);
  }
  std::vector<bool> seen(nodes_.size());
  std::vector<AppMessage> out;
  std::unordered_map<std::string, std::string> shown;  // node -> the message at or above it
  struct Step {
    size_t node;
    std::string parent;
    std::shared_ptr<std::string> thinking;  // for the first message below that can have it; null: none
  };
  const auto walk = [&](size_t root) {
    std::vector<Step> open{{root, "", nullptr}};
    while (!open.empty()) {
      Step step = std::move(open.back());
      open.pop_back();
      if (seen[step.node]) continue;
      seen[step.node] = true;
      Node& node = nodes_[step.node];
      if (!node.thinking.empty()) {
        if (!step.thinking) step.thinking = std::make_shared<std::string>();
        *step.thinking += (step.thinking->empty() ? "" : "\n\n") + node.thinking;
      }
      if (node.message) {
        AppMessage& m = *node.message;
        m.id = node.id, m.parent = step.parent;
        if (step.thinking && m.role == "assistant" && m.thinking.empty())
          m.thinking = std::exchange(*step.thinking, std::string());
        step.thinking = nullptr;
        step.parent = m.id;
        out.push_back(std::move(m));
      }
      shown[node.id] = step.parent;
      std::vector<size_t>& below = children[step.node];
      for (auto child = below.rbegin(); child != below.rend(); ++child)
        open.push_back({*child, step.parent, step.thinking});
    }
  };
  for (const size_t root : roots) walk(root);
  for (size_t i = 0; i < nodes_.size(); ++i)  // circles, which have no root
    if (!seen[i]) walk(i);
  const auto at = shown.find(leaf);
  leaf = at != shown.end() ? at->second : "";
  // In the order of their times; a child is never before its parent.
  std::unordered_map<std::string, int64_t> time;
  for (AppMessage& m : out) {
    if (const auto parent = time.find(m.parent); parent != time.end()) m.created = std::max(m.created, parent->second);
    time[m.id] = m.created;
  }
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.created < b.created; });
  if (leaf.empty() && !out.empty()) leaf = out.back().id;
  return out;
}

}  // namespace fathom

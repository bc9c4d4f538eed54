// What the readers of chat_import.cc share: a tree whose nodes come in any order, some of them without a message.
#pragma once
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "server/app/chat.h"

namespace fathom {

class ImportTree {
 public:
  /// A node; `message` nullopt: it is passed over, its children hang below its parent. `thinking`: of such a node, for
  /// the next message of the assistant below it.
  void add(std::string id, std::string parent, std::optional<AppMessage> message, std::string thinking = "");
  /// The messages, parents before children, each with its parent among them; siblings in the order of their times, then
  /// as they were added. `leaf` becomes the message at or above the node of that id, or the last message.
  std::vector<AppMessage> take(std::string& leaf);

 private:
  struct Node {
    std::string id, parent;
    std::optional<AppMessage> message;
    std::string thinking;
  };
  std::vector<Node> nodes_;
  std::unordered_map<std::string, size_t> by_id_;
};

}  // namespace fathom

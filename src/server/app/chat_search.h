// Full-text search over titles, messages and thinking: SQLite's FTS5, without regard to case and accents, words by
// their beginnings. Thread-safe.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "server/store/database.h"

namespace fathom {

struct SearchHit {
  std::string chat, title;
  std::string message;  ///< empty: the title is the hit
  std::string where;    ///< "title", "content", "thinking"
  std::string snippet;  ///< some words around the hit, which stands between U+0001 and U+0002
};

class ChatSearch {
 public:
  static constexpr size_t kMostQuery = 1000;  ///< bytes

  /// The tables are those of chat_tables.h.
  explicit ChatSearch(std::shared_ptr<Database> database) : database_(std::move(database)) {}

  /// At most `limit` hits: titles, then messages, of each the latest first. Every word of `text` must be found, in one
  /// title or one message. A text without words has no hits. Throws ApiError where it is too long.
  std::vector<SearchHit> find(const std::string& text, size_t limit) const;

 private:
  const std::shared_ptr<Database> database_;
};

json::object hit_json(const SearchHit& hit);

/// What a person types as a query of FTS5: each word quoted, so that no sign in it means anything, and free to go on.
std::string fts_query(std::string_view text);

}  // namespace fathom

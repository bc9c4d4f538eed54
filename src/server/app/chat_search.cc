#include "server/app/chat_search.h"

#include <soci/soci.h>

#include "server/api/error.h"
#include "server/app/snippet.h"
#include "text/utf8.h"

namespace fathom {
namespace {

constexpr std::string_view kSpace(" \t\r\n\f\v\0", 7);

/// Up to `limit` rows of a search. `query` selects chat, title, message, then the texts that may hold the hit.
std::vector<SearchHit> rows(soci::session& sql, const std::string& query, const std::string& words,
                            const std::vector<FoldedWord>& folded, size_t limit) {
  SearchHit hit;
  std::string content, thinking;
  const long long most = static_cast<long long>(limit);
  soci::statement search = (sql.prepare << query, soci::into(hit.chat), soci::into(hit.title), soci::into(hit.message),
                            soci::into(content), soci::into(thinking), soci::use(words), soci::use(most));
  search.execute();
  std::vector<SearchHit> out;
  while (search.fetch()) {
    const std::optional<std::string> found = snippet(content, folded);
    const std::optional<std::string> thought = found ? std::nullopt : snippet(thinking, folded);
    hit.where = hit.message.empty() ? "title" : thought ? "thinking" : "content";
    hit.snippet = utf8_lossy(found ? *found : thought ? *thought : beginning(content));
    out.push_back(hit);
  }
  return out;
}

}  // namespace

std::string fts_query(std::string_view text) {
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    const size_t begin = text.find_first_not_of(kSpace, at);
    if (begin == std::string_view::npos) break;
    at = std::min(text.find_first_of(kSpace, begin), text.size());
    out += out.empty() ? "\"" : " \"";
    for (const char c : text.substr(begin, at - begin)) out += c == '"' ? "\"\"" : std::string(1, c);
    out += "\"*";
  }
  return out;
}

std::vector<SearchHit> ChatSearch::find(const std::string& text, size_t limit) const {
  if (text.size() > kMostQuery)
    throw wrong_field("q", cat("q: expected at most ", kMostQuery, " bytes, found ", text.size()));
  const std::string words = fts_query(text);
  if (words.empty()) return {};
  // By the number of a row, which is its age: nothing is sorted, so that a search for a common word ends early.
  static const std::string kTitles =
      "SELECT c.id, c.title, '', c.title, '' FROM app_titles JOIN app_chats c ON c.num = app_titles.rowid WHERE "
      "app_titles MATCH :q AND c.deleted = 0 ORDER BY app_titles.rowid DESC LIMIT :n";
  static const std::string kTexts =
      "SELECT c.id, c.title, m.id, m.content, m.thinking FROM app_texts JOIN app_messages m ON m.num = "
      "app_texts.rowid JOIN app_chats c ON c.id = m.chat WHERE app_texts MATCH :q AND c.deleted = 0 ORDER BY "
      "app_texts.rowid DESC LIMIT :n";
  const std::vector<FoldedWord> folded = folded_words(text);
  return database_->read([&](soci::session& sql) {
    std::vector<SearchHit> hits = rows(sql, kTitles, words, folded, limit);
    if (hits.size() < limit) {
      const std::vector<SearchHit> texts = rows(sql, kTexts, words, folded, limit - hits.size());
      hits.insert(hits.end(), texts.begin(), texts.end());
    }
    return hits;
  });
}

json::object hit_json(const SearchHit& hit) {
  return {{"chat", hit.chat},
          {"title", hit.title},
          {"message", hit.message.empty() ? json::value(nullptr) : json::value(hit.message)},
          {"where", hit.where},
          {"snippet", hit.snippet}};
}

}  // namespace fathom

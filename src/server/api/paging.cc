#include "server/api/paging.h"

#include <algorithm>
#include <charconv>

#include "server/api/error.h"
#include "server/http/http.h"

namespace fathom {

std::optional<size_t> count_in(const std::string& query, const char* key) {
  const std::optional<std::string> text = query_value(query, key);
  if (!text) return std::nullopt;
  size_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size())
    throw wrong_field(key, cat(key, ": expected a whole number, found '", text->substr(0, 40), "'"));
  return value;
}

json::object list_page(json::array items, const std::string& query, size_t limit, size_t most) {
  const std::string order = query_value(query, "order").value_or("desc");
  if (order != "asc" && order != "desc") throw wrong_field("order", "order: expected asc or desc");
  if (order == "asc") std::reverse(items.begin(), items.end());
  limit = count_in(query, "limit").value_or(limit);
  if (limit < 1 || limit > most) throw wrong_field("limit", cat("limit: expected 1 to ", most));
  auto from = items.begin();
  if (const auto after = query_value(query, "after")) {
    from = std::ranges::find_if(items, [&](const json::value& item) { return item.at("id").as_string() == *after; });
    if (from == items.end()) throw wrong_field("after", "after: expected the id of one of them");
    ++from;
  }
  const auto left = static_cast<size_t>(items.end() - from);
  const json::array page(from, from + static_cast<std::ptrdiff_t>(std::min(limit, left)));
  json::object out{{"object", "list"}, {"data", page}, {"first_id", nullptr}, {"last_id", nullptr}};
  if (!page.empty()) out["first_id"] = page.front().at("id"), out["last_id"] = page.back().at("id");
  out["has_more"] = left > limit;
  return out;
}

}  // namespace fathom

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

PageQuery read_page_query(const std::string& query, size_t limit, size_t most) {
  PageQuery out;
  const std::string order = query_value(query, "order").value_or("desc");
  if (order != "asc" && order != "desc") throw wrong_field("order", "order: expected asc or desc");
  out.oldest_first = order == "asc";
  out.limit = count_in(query, "limit").value_or(limit);
  if (out.limit < 1 || out.limit > most) throw wrong_field("limit", cat("limit: expected 1 to ", most));
  out.after = query_value(query, "after");
  return out;
}

ApiError no_such_item() { return wrong_field("after", "after: expected the id of one of them"); }

json::object page_json(json::array items, bool has_more) {
  json::object out{{"object", "list"}, {"data", std::move(items)}, {"first_id", nullptr}, {"last_id", nullptr}};
  if (const json::array& page = out["data"].as_array(); !page.empty()) {
    const json::value first = page.front().at("id"), last = page.back().at("id");
    out["first_id"] = first, out["last_id"] = last;
  }
  out["has_more"] = has_more;
  return out;
}

json::object list_page(json::array items, const std::string& query, size_t limit, size_t most) {
  const PageQuery asked = read_page_query(query, limit, most);
  if (asked.oldest_first) std::reverse(items.begin(), items.end());
  auto from = items.begin();
  if (asked.after) {
    from =
        std::ranges::find_if(items, [&](const json::value& item) { return item.at("id").as_string() == *asked.after; });
    if (from == items.end()) throw no_such_item();
    ++from;
  }
  const auto left = static_cast<size_t>(items.end() - from);
  return page_json(json::array(from, from + static_cast<std::ptrdiff_t>(std::min(asked.limit, left))),
                   left > asked.limit);
}

}  // namespace fathom

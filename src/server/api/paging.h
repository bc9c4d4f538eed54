// OpenAI's lists, page by page: order, limit and after in the query. Pure functions.
#pragma once
#include <optional>
#include <string>

#include "base/json.h"
#include "server/api/error.h"

namespace fathom {

/// A whole number in the query; nullopt: none is there. Throws ApiError.
std::optional<size_t> count_in(const std::string& query, const char* key);

/// What a list's query asks for.
struct PageQuery {
  bool oldest_first = false;
  size_t limit = 0;
  std::optional<std::string> after = {};  ///< the id behind which it begins
};
/// `limit`: where none is asked for. Throws ApiError for a query that cannot be.
PageQuery read_page_query(const std::string& query, size_t limit, size_t most);
/// `after` is the id of none.
ApiError no_such_item();
/// {object: list, data, first_id, last_id, has_more}.
json::object page_json(json::array items, bool has_more);

/// {object: list, data, first_id, last_id, has_more} of `items`, which have ids and come in OpenAI's default order, the
/// newest first. Throws ApiError for a query that cannot be.
json::object list_page(json::array items, const std::string& query, size_t limit, size_t most);

}  // namespace fathom

// OpenAI's lists, page by page: order, limit and after in the query. Pure functions.
#pragma once
#include <optional>
#include <string>

#include "base/json.h"

namespace fathom {

/// A whole number in the query; nullopt: none is there. Throws ApiError.
std::optional<size_t> count_in(const std::string& query, const char* key);

/// {object: list, data, first_id, last_id, has_more} of `items`, which have ids and come in OpenAI's default order, the
/// newest first. Throws ApiError for a query that cannot be.
json::object list_page(json::array items, const std::string& query, size_t limit, size_t most);

}  // namespace fathom

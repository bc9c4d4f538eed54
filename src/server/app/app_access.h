// Who may call the app's API: pages that this server has sent, and programs. Its conversations are a person's own, so
// the origins that `cors` lets call the model's API do not count here. Pure functions; any thread.
#pragma once
#include <string>
#include <vector>

#include "server/http/http.h"

namespace fathom {

/// Throws ApiError 403 where a page of another origin asks, or the Host header has a name that is neither loopback's,
/// nor an address, nor one of `names` (a page can make its own name point to this machine, but no address), and 415 for
/// a body that is not JSON where `json_only`.
void check_app_access(const HttpServerRequest& request, const std::vector<std::string>& names, bool json_only);

}  // namespace fathom

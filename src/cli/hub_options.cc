#include "cli/hub_options.h"

#include <cstdlib>

#include "cli/folders.h"

namespace fathom {

PullOptions hub_options(const Settings& settings) {
  PullOptions options;
  options.endpoint = settings.text("endpoint").value_or(options.endpoint);
  options.token = find_token(config_folder());
  // As curl and Python take it: where a company's proxy signs, its certificate is named there.
  if (const char* file = std::getenv("SSL_CERT_FILE")) options.ca_file = file;
  return options;
}

}  // namespace fathom

// How this person's settings reach the hub: for `fathom pull`, and for the pulls of the app's page. Thread-safe as long
// as nobody changes the environment.
#pragma once
#include "cli/settings.h"
#include "hub/pull.h"

namespace fathom {

/// Endpoint, token and trusted certificates. Throws Error where the token's source holds anything else.
PullOptions hub_options(const Settings& settings);

}  // namespace fathom

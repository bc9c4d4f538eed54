// Hashes of content for `fathom inspect --hash`: every byte is read, with a progress bar. Main thread.
#pragma once
#include "base/json.h"
#include "formats/model_header.h"

namespace fathom {

/// Adds to the report: each file's sha256, and hash_check "equal" or "differs" where pull recorded one; in a folder the
/// files without tensors too; and weights_id (engine/identity.h), null with weights_id_problem where the model cannot
/// be opened. Returns whether nothing differs. Throws Interrupted on Ctrl-C.
bool add_hashes(const ModelHeader& header, json::object& report);

}  // namespace fathom

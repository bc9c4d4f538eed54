// What `fathom inspect` tells of a model's texts: special tokens, the chat template, the licence; and what `fathom
// pull` wrote down when it fetched the files. A text that cannot be read is a note in the report and no error: the rest
// of the model can still be shown. Main thread.
#pragma once
#include "base/json.h"
#include "formats/model_header.h"

namespace fathom {

/// Adds "tokenizer" {tokens, pre, special: [{role, id, text}], end_of_generation: [{id, text}]} or {problem}, or null;
/// "chat_template" {bytes, sha256, rendered or render_problem} or null; "license" {name, link, source} or null.
void add_texts(const ModelHeader& header, json::object& report);

/// Adds "pull" {repository, revision, commit} and each file's recorded_sha256, from .fathom/pull.json in the model's
/// folder, where there is one; null otherwise.
void add_pull_record(const ModelHeader& header, json::object& report);

}  // namespace fathom

// Anthropic's Messages -> GenerateRequest. Sources: spec/api.md 4; the types of Anthropic's own client.
//
//   - Thinking: `enabled` with its budget, `adaptive` without one, `disabled`. Without the field the model thinks as
//   its
//     template or alias does, as everywhere in Fathom.
//   - Thinking blocks that come back: those of answered turns are not shown to the model again, whatever they hold;
//     those of the turn whose tools have just answered are, and must bear our signature (thinking_signature.h).
//     Redacted thinking is never ours: it is left out and named in the warning header.
//   - A last message of the assistant is the beginning of the answer.
//   - Model names: those of the server's models and aliases. Anthropic's own are unknown here, 404, unless the server
//     was given an alias: --alias claude-sonnet-4-5=MODEL.
//   - cache_control means nothing here: every prompt's beginning is cached.
// Pure functions. Each throws ApiError naming the field.
#pragma once
#include "server/api/request.h"
#include "server/api/thinking_signature.h"

namespace fathom {

GenerateRequest read_anthropic_request(const json::value& body, const ThinkingSignature& signature);
/// The same without what only an answer needs, for counting tokens.
GenerateRequest read_anthropic_count(const json::value& body, const ThinkingSignature& signature);

}  // namespace fathom

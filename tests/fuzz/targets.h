// The fuzz targets: each takes any bytes and returns. What a reader refuses with Error is right; a crash, a sanitizer's
// report, an exception of another kind, or a property that does not hold (check()) is a finding.
// main.cc makes a libFuzzer program of one target; replay_test.cc runs the kept inputs through all of them with any
// compiler. One thread.
#pragma once
#include <string_view>

namespace fathom::fuzz {

/// A GGUF file: metadata, tensor table, configuration, tokenizer, small tensors dequantised; what was read is written
/// and read again.
void gguf(std::string_view input);
/// A safetensors file: header, small tensors dequantised; what was read is written and read again.
void safetensors(std::string_view input);
/// config.json and, behind a line of kPartBreak, generation_config.json.
void config(std::string_view input);
/// tokenizer.json and, behind a line of kPartBreak, tokenizer_config.json: read, built, and a text encoded and decoded.
void tokenizer(std::string_view input);
/// A chat template: rendered with fixed messages; text from outside must never come out trusted.
void chat_template(std::string_view input);
/// Three bytes of choices (format, cuts), then a model's output: the events must not depend on how it is cut.
void output_parser(std::string_view input);
/// One byte of choice (cuts), then the bytes of a connection: what the server makes of them must not depend on the
/// cuts, and nothing of it may break out of an answer's head or of an event.
void http_request(std::string_view input);
/// A grammar in GBNF, and the same bytes as a regular expression: what compiles is followed at random.
void gbnf(std::string_view input);
/// A JSON schema: what compiles is followed at random; a complete document must be JSON.
void json_schema(std::string_view input);

}  // namespace fathom::fuzz

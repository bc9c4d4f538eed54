#include "formats/config_json.h"
#include "tests/fuzz/support.h"
#include "tests/fuzz/targets.h"

namespace fathom::fuzz {

void config(std::string_view input) {
  const auto [model, generation] = two_parts(input);
  try {
    const json::value value = parse_json(model, "config.json");
    const ModelConfig read = config_from_json(JsonObject(value, "config.json"));
    validate(read, "config.json");  // what was accepted once is accepted again
    check(read.num_attention_heads != 0 && read.vocab_size != 0 && read.hidden_size != 0,
          "an empty model was accepted");
    // The text of the value is the same configuration.
    const json::value again = parse_json(to_json(value), "config.json again");
    const ModelConfig same = config_from_json(JsonObject(again, "config.json again"));
    check(same.hidden_size == read.hidden_size && same.eos_token_ids == read.eos_token_ids, "writing changed a value");
  } catch (const Error&) {
  }
  try {
    const json::value value = parse_json(generation, "generation_config.json");
    const JsonObject object(value, "generation_config.json");
    token_ids(object, "eos_token_id");
    validate(generation_config_from_json(object), "generation_config.json");
  } catch (const Error&) {
  }
}

}  // namespace fathom::fuzz

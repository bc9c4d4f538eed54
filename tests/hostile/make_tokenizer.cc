// L5: tokens of huge lengths, merges that point nowhere, vocabularies made to be slow; in GGUF and tokenizer.json.
#include "base/error.h"
#include "base/json.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

using B = GgufBuilder;
using Texts = std::vector<std::string>;

/// The tiny GGUF with one tokenizer key set anew.
template <class T>
HostileCase gguf_key(std::string name, const std::string& key, std::function<T()> value) {
  return gguf_case(std::move(name), [=] {
    TinyGguf tiny;
    tiny.without = {"tokenizer.ggml." + key};
    return tiny.builder().key("tokenizer.ggml." + key, value()).bytes();
  });
}

/// The tiny GGUF with other tokens, all of them normal ones and without merges.
HostileCase gguf_tokens(std::string name, std::function<Texts()> tokens) {
  return gguf_case(std::move(name), [=] {
    TinyGguf tiny;
    tiny.without = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "llama.vocab_size"};
    return tiny.builder().key("tokenizer.ggml.tokens", tokens()).bytes();
  });
}

/// The tiny folder with one place of tokenizer.json replaced.
HostileCase json_case(std::string name, const std::string& pointer, std::function<std::string()> replacement) {
  return folder_case(std::move(name), [=](Files& files) {
    json::value value = parse_json(files.at("tokenizer.json"), "tiny");
    value.at_pointer(pointer) = parse_json(replacement(), "replacement");
    files["tokenizer.json"] = to_json(value);
  });
}
HostileCase json_case(std::string name, const std::string& pointer, std::string replacement) {
  return json_case(std::move(name), pointer, [=] { return replacement; });
}
/// One more key of the model.
HostileCase model_case(std::string name, std::string key) {
  return folder_case(std::move(name), [=](Files& files) {
    std::string& text = files["tokenizer.json"];
    text.insert(text.find(R"("type":"BPE")"), key + ",");
  });
}
HostileCase text_case(std::string name, std::string file, std::string text) {
  return folder_case(std::move(name), [=](Files& files) { files[file] = text; });
}

Texts more_tokens(std::string one) {
  Texts out = TinyGguf::tokens();
  out.push_back(std::move(one));
  return out;
}

/// Tokens of 16 bytes whose second half is a constant that the hash of the vocabulary once multiplied with.
Texts tokens_that_once_collided() {
  const Texts letters = byte_letters();
  const std::string tail = B::raw<uint64_t>(0xD6E8FEB86659FD93u);
  Texts out = TinyGguf::tokens();
  for (uint64_t i = 0; i < 60'000; ++i) {
    std::string& token = out.emplace_back();
    for (char c : B::raw(i) + tail) token += letters[static_cast<uint8_t>(c)];
  }
  out.push_back("ab");  // what is wrong, found after all the others
  return out;
}

std::vector<HostileCase> in_gguf() {
  const auto n = static_cast<uint32_t>(TinyGguf::tokens().size());
  return {
      gguf_key<std::string_view>("L5_gguf_model", "model", [] { return "llama"; }),
      gguf_key<std::string_view>("L5_gguf_pre", "pre", [] { return "no-such\n"; }),
      gguf_key<std::vector<int32_t>>("L5_gguf_types_too_few", "token_type",
                                     [] {
                                       return std::vector<int32_t>{1, 1};
                                     }),
      gguf_key<std::vector<int32_t>>("L5_gguf_type_unknown", "token_type", [=] { return std::vector<int32_t>(n, 9); }),
      gguf_key<Texts>("L5_gguf_types_are_texts", "token_type", [] { return Texts{"normal"}; }),
      gguf_case("L5_gguf_no_pre",
                [] {
                  TinyGguf tiny;
                  tiny.without = {"tokenizer.ggml.pre"};
                  return tiny.bytes();
                }),
      gguf_case(
          "L5_gguf_visible_tokens",
          [] { return TinyGguf().builder().key("fathom.tokenizer.visible_tokens", std::vector<int32_t>{-7}).bytes(); }),
      gguf_key<uint32_t>("L5_gguf_bos_beyond_the_vocabulary", "bos_token_id", [=] { return n; }),
      gguf_key<std::string_view>("L5_gguf_bos_is_text", "bos_token_id", [] { return "<s>"; }),
      gguf_key<bool>("L5_gguf_pad_without_a_token", "padding_token_id", [] { return true; }),
      gguf_case("L5_gguf_bos_wanted_and_not_named",
                [] {
                  TinyGguf tiny;
                  tiny.without = {"tokenizer.ggml.bos_token_id"};
                  return tiny.builder().key("tokenizer.ggml.add_bos_token", true).bytes();
                }),
      gguf_key<Texts>("L5_gguf_merge_of_one_part", "merges", [] { return Texts{"ab"}; }),
      gguf_key<Texts>("L5_gguf_merge_points_nowhere", "merges",
                      [] {
                        return Texts{"a b", "ab zz"};
                      }),
      gguf_key<Texts>("L5_gguf_merge_into_nowhere", "merges", [] { return Texts{"b a"}; }),
      gguf_key<uint32_t>("L5_gguf_merges_are_a_number", "merges", [] { return 7u; }),
      gguf_tokens("L5_gguf_huge_token", [] { return more_tokens(std::string(8 << 20, 'x')); }),
      gguf_tokens("L5_gguf_two_equal_tokens", [] { return more_tokens("a"); }),
      gguf_tokens("L5_gguf_tokens_of_one_hash", tokens_that_once_collided),
      gguf_tokens("L5_gguf_too_many_tokens", [] { return Texts((1 << 20) + 1); }),
      gguf_case(
          "L5_gguf_equal_added_tokens",
          [] {
            TinyGguf tiny;
            tiny.without = {"tokenizer.ggml.tokens", "tokenizer.ggml.token_type"};
            Texts tokens = TinyGguf::tokens();
            tokens.back() = "<s>";
            std::vector<int32_t> types(tokens.size(), 1);
            types[types.size() - 1] = types[types.size() - 2] = 3;
            return tiny.builder().key("tokenizer.ggml.tokens", tokens).key("tokenizer.ggml.token_type", types).bytes();
          }),
      gguf_case("L5_gguf_long_added_token",
                [] {
                  TinyGguf tiny;
                  tiny.without = {"tokenizer.ggml.tokens"};
                  Texts tokens = TinyGguf::tokens();
                  tokens.back() = std::string(2000, '<');
                  return tiny.builder().key("tokenizer.ggml.tokens", tokens).bytes();
                }),
  };
}

std::vector<HostileCase> model_of_json() {
  return {
      json_case("L5_json_type", "/model/type", R"("Unigram")"),
      model_case("L5_json_byte_fallback", R"("byte_fallback":true)"),
      model_case("L5_json_dropout", R"("dropout":0.1)"),
      model_case("L5_json_prefix", R"("continuing_subword_prefix":"##")"),
      json_case("L5_json_merges_are_text", "/model/merges", R"("a b")"),
      json_case("L5_json_merge_of_one_part", "/model/merges", R"(["ab"])"),
      json_case("L5_json_merge_of_three", "/model/merges", R"([["a","b","c"]])"),
      json_case("L5_json_merge_points_nowhere", "/model/merges", R"([["a","nowhere"]])"),
      json_case("L5_json_merge_of_other_letters", "/model/merges", R"([["a","\u65e5\u202e"]])"),
      json_case("L5_json_vocabulary_is_a_list", "/model/vocab", "[]"),
      json_case("L5_json_two_of_one_id", "/model/vocab", R"({"a":0,"b":0})"),
      json_case("L5_json_id_is_text", "/model/vocab", R"({"a":"0"})"),
      json_case("L5_json_id_negative", "/model/vocab", R"({"a":-1})"),
      json_case("L5_json_id_huge", "/model/vocab", R"({"a":2000000000})"),
      json_case("L5_json_huge_token", "/model/vocab",
                [] { return cat(R"({"a":0,"b":1,"ab":2,")", std::string(100'000, 'x'), R"(":3})"); }),
      json_case("L5_json_too_many_merges", "/model/merges",
                [] {
                  std::string out = "[\"a b\"";
                  for (int i = 0; i < (1 << 21); ++i) out += ",\"a b\"";
                  return out + "]";
                }),
      text_case("L5_json_is_cut_off", "tokenizer.json", R"({"model":{"vocab":{"a":0,)"),
      text_case("L5_json_is_no_utf8", "tokenizer.json", "{\"model\":\"\xFF\xFE\"}"),
      text_case("L10_json_nests_objects_without_end", "tokenizer.json",
                [] {
                  std::string out;
                  for (int i = 0; i < 100'000; ++i) out += R"({"a":)";
                  return out;
                }()),
      folder_case("L5_sentencepiece_only",
                  [](Files& files) {
                    files.erase("tokenizer.json");
                    files["tokenizer.model"] = "\n\x0e\n\x05<unk>";
                  }),
  };
}

std::vector<HostileCase> steps_of_json() {
  const auto split = [](const std::string& pattern) {
    return cat(
        R"({"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":)", to_json(json::value(pattern)),
        R"(},"behavior":"Isolated","invert":false},{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})");
  };
  return {
      json_case("L5_json_added_token_id", "/added_tokens", R"([{"id":-2,"content":"<s>"}])"),
      json_case("L5_json_added_token_empty", "/added_tokens", R"([{"id":300,"content":""}])"),
      json_case("L5_json_added_token_strips", "/added_tokens", R"([{"id":300,"content":"<s>","rstrip":true}])"),
      json_case("L5_json_added_tokens_are_text", "/added_tokens", R"(["<s>"])"),
      json_case("L5_json_normalizer", "/normalizer", R"({"type":"Lowercase"})"),
      json_case("L5_json_pre_tokenizer", "/pre_tokenizer", R"({"type":"Metaspace"})"),
      json_case("L5_json_no_pre_tokenizer", "/pre_tokenizer", "null"),
      json_case("L5_json_no_byte_level", "/pre_tokenizer", R"({"type":"Digits"})"),
      json_case("L5_json_prefix_space", "/pre_tokenizer", R"({"type":"ByteLevel","add_prefix_space":true})"),
      json_case(
          "L5_json_step_after_the_last", "/pre_tokenizer",
          R"({"type":"Sequence","pretokenizers":[{"type":"ByteLevel","add_prefix_space":false},{"type":"Digits"}]})"),
      json_case("L5_json_split_removes", "/pre_tokenizer",
                R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Removed"})"),
      json_case("L5_json_split_inverts", "/pre_tokenizer",
                R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Isolated","invert":true})"),
      json_case("L5_json_decoder", "/decoder", R"({"type":"WordPiece"})"),
      json_case("L5_json_post_processor", "/post_processor", R"({"type":"BertProcessing"})"),
      json_case("L5_json_post_processor_token", "/post_processor",
                R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<x>"}}]})"),
      json_case(
          "L5_json_post_processor_twice", "/post_processor",
          R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"SpecialToken":{"id":"<s>"}}]})"),
      json_case("L5_json_pattern_broken", "/pre_tokenizer", split("(a")),
      json_case("L5_json_pattern_too_long", "/pre_tokenizer", split(std::string(70'000, 'a'))),
      json_case("L5_json_pattern_explodes", "/pre_tokenizer", split("(?:(?:(?:a{1,999}){1,999}){1,999}){1,999}")),
      json_case("L5_json_pattern_catastrophic", "/pre_tokenizer", split(R"((?:.|.|.)+\d{9})")),
      json_case("L5_json_too_many_patterns", "/pre_tokenizer",
                [] {
                  std::string steps;
                  for (int i = 0; i < 100; ++i)
                    steps += R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"Isolated"},)";
                  return cat(R"({"type":"Sequence","pretokenizers":[)", steps,
                             R"({"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]})");
                }),
      text_case("L5_config_eos_unknown", "tokenizer_config.json", R"({"eos_token":"<absent>"})"),
      text_case("L5_config_bos_wanted_and_not_named", "tokenizer_config.json", R"({"add_bos_token":true})"),
      text_case("L5_config_template_is_a_number", "tokenizer_config.json", R"({"chat_template":7})"),
  };
}

}  // namespace

std::vector<HostileCase> tokenizer_cases() {
  std::vector<HostileCase> out;
  for (auto* group : {in_gguf, model_of_json, steps_of_json})
    for (HostileCase& one : group()) out.push_back(std::move(one));
  return out;
}

}  // namespace fathom::testing

// L1, L2, L3 for GGUF: counts, places, dimensions, keys, parts.
#include "base/error.h"
#include "tests/hostile/cases.h"

namespace fathom::testing {
namespace {

constexpr uint64_t kHuge = uint64_t{1} << 62;
using B = GgufBuilder;

std::string raw_type(GgufType type) { return B::raw(static_cast<uint32_t>(type)); }

/// A file with one key, given as bytes behind the key's name.
HostileCase key_case(std::string name, GgufType type, std::string value) {
  return gguf_case(std::move(name), [=] { return B().key("some.key", type, value).bytes(); });
}

/// A file with one tensor that says what it likes.
HostileCase tensor_case(std::string name, std::vector<uint64_t> ne, uint32_t type, uint64_t offset) {
  return gguf_case(std::move(name),
                   [=] { return B().tensor_info("w", ne, type, offset).bytes() + std::string(64, 0); });
}

HostileCase header_case(std::string name, uint32_t version, uint64_t tensors, uint64_t keys) {
  return gguf_case(std::move(name), [=] { return "GGUF" + B::raw(version) + B::raw(tensors) + B::raw(keys); });
}

std::vector<HostileCase> counts() {
  return {
      header_case("L1_gguf_tensor_count", 3, kHuge, 0),
      header_case("L1_gguf_key_count", 3, 0, kHuge),
      header_case("L1_gguf_version", 4, 0, 0),
      header_case("L1_gguf_big_endian", 0x03000000, 0, 0),
      gguf_case("L1_gguf_empty", [] { return std::string(); }),
      gguf_case("L1_gguf_other_bytes", [] { return std::string(64, 'x'); }),
      key_case("L1_gguf_array_count", GgufType::kArray, raw_type(GgufType::kU8) + B::raw(kHuge)),
      key_case("L1_gguf_array_count_wraps", GgufType::kArray, raw_type(GgufType::kU64) + B::raw(kHuge / 2 + 1)),
      key_case("L1_gguf_string_count", GgufType::kArray, raw_type(GgufType::kString) + B::raw(kHuge)),
      key_case("L1_gguf_string_length", GgufType::kString, B::raw(~uint64_t{0})),
      key_case("L1_gguf_nested_array", GgufType::kArray, raw_type(GgufType::kArray) + B::raw<uint64_t>(1)),
      key_case("L1_gguf_value_type", static_cast<GgufType>(99), ""),
      gguf_case("L1_gguf_key_length",
                [] {
                  return "GGUF" + B::raw(3u) + B::raw<uint64_t>(0) + B::raw<uint64_t>(1) + B::raw(kHuge) +
                         std::string(64, 'k');
                }),
      gguf_case("L1_gguf_header_too_long",
                [] {
                  // Within the file by its size alone: the file is sparse and longer than any header may be.
                  return B()
                      .key("some.key", GgufType::kArray, raw_type(GgufType::kU8) + B::raw<uint64_t>(300u << 20))
                      .bytes();
                }),
  };
}

std::vector<HostileCase> places() {
  return {
      tensor_case("L2_gguf_tensor_beyond_the_file", {1024}, 0, 0),
      tensor_case("L2_gguf_offset_beyond_the_file", {4}, 0, 4096),
      tensor_case("L2_gguf_offset_wraps", {4}, 0, ~uint64_t{0} - 31),
      tensor_case("L3_gguf_offset_not_aligned", {4}, 0, 4),
      tensor_case("L3_gguf_zero_dimension", {4, 0}, 0, 0),
      tensor_case("L3_gguf_dimensions_wrap", {uint64_t{1} << 33, uint64_t{1} << 33}, 0, 0),
      tensor_case("L3_gguf_no_dimensions", {}, 0, 0),
      tensor_case("L3_gguf_many_dimensions", {1, 1, 1, 1, 1}, 0, 0),
      tensor_case("L3_gguf_broken_block", {31}, 8, 0),
      tensor_case("L3_gguf_removed_type", {4}, 4, 0),
      tensor_case("L3_gguf_unknown_type", {4}, 4000000000u, 0),
      tensor_case("L3_gguf_type_of_activations", {256}, 15, 0),
      tensor_case("L3_gguf_ternary_type", {256}, 34, 0),
      gguf_case(
          "L3_gguf_tensors_overlap",
          [] { return B().tensor_info("a", {16}, 0, 0).tensor_info("b", {16}, 0, 32).bytes() + std::string(128, 0); }),
      gguf_case(
          "L3_gguf_tensor_twice",
          [] { return B().tensor("w", {4}, 0, std::string(16, 0)).tensor("w", {4}, 0, std::string(16, 0)).bytes(); }),
      gguf_case("L3_gguf_key_twice", [] { return B().key("k", 1u).key("k", 2u).bytes(); }),
      gguf_case(
          "L3_gguf_key_of_escapes_twice",
          [] {
            return B().key("\x1b[2J\xC2\x9B\xFF\xE2\x80\xAEk", 1u).key("\x1b[2J\xC2\x9B\xFF\xE2\x80\xAEk", 2u).bytes();
          }),
      gguf_case("L3_gguf_alignment_zero", [] { return B().key("general.alignment", 0u).bytes(); }),
      gguf_case("L3_gguf_alignment_odd", [] { return B().key("general.alignment", 48u).bytes(); }),
      gguf_case("L3_gguf_alignment_huge", [] { return B().key("general.alignment", 1u << 31).bytes(); }),
      gguf_case("L3_gguf_alignment_text", [] { return B().key("general.alignment", "32").bytes(); }),
      gguf_case("L3_gguf_tensor_name_empty", [] { return B().tensor_info("", {4}, 0, 0).bytes(); }),
      gguf_case("L3_gguf_tensor_name_long", [] { return B().tensor_info(std::string(256, 'n'), {4}, 0, 0).bytes(); }),
  };
}

HostileCase names_case(std::string name, std::string (*make)(const std::vector<std::string>&)) {
  return gguf_case(std::move(name), [=] { return make(names_of_one_hash(60'000)); });
}

std::vector<HostileCase> collisions() {
  return {names_case("L1_gguf_tensors_of_one_hash",
                     [](const std::vector<std::string>& names) {
                       B b;
                       for (const std::string& n : names) b.tensor_info(n, {8}, 0, 0);
                       return b.tensor("z", {8}, 0, std::string(32, 0)).bytes();
                     }),
          names_case("L1_gguf_keys_of_one_hash", [](const std::vector<std::string>& names) {
            B b;
            for (const std::string& n : names) b.key(n, true);
            return b.bytes();
          })};
}

/// Two parts of a split model, each with the keys it is given.
HostileCase parts_case(std::string name, std::function<void(B&, B&)> change) {
  const auto make = [change = std::move(change)](const fs::path& folder) {
    B first = TinyGguf().builder(), second;
    first.key("split.no", 0u).key("split.count", 2u).key("split.tensors.count", 12u);
    second.tensor("extra", {4}, 0, std::string(16, 0));
    change(first, second);
    put(folder / "model-00001-of-00002.gguf", first.bytes());
    put(folder / "model-00002-of-00002.gguf", second.bytes());
  };
  return {std::move(name), make, "model-00001-of-00002.gguf"};
}

std::vector<HostileCase> parts() {
  const auto second = [](B& b, uint32_t number, uint32_t count) {
    b.key("split.no", number).key("split.count", count);
  };
  return {
      parts_case("L3_gguf_part_number", [=](B&, B& b) { second(b, 7, 2); }),
      parts_case("L3_gguf_part_count", [=](B&, B& b) { second(b, 1, 3); }),
      parts_case("L3_gguf_part_total",
                 [=](B&, B& b) { second(b, 1, 2), b.tensor("more", {4}, 0, std::string(16, 0)); }),
      parts_case("L3_gguf_part_repeats_a_tensor",
                 [=](B&, B& b) { second(b, 1, 2), b.tensor("output_norm.weight", {4}, 0, std::string(16, 0)); }),
      gguf_case("L3_gguf_parts_without_names", [] { return TinyGguf().builder().key("split.count", 65535u).bytes(); }),
      gguf_case("L3_gguf_part_number_negative",
                [] { return TinyGguf().builder().key("split.no", GgufType::kI32, B::raw(-1)).bytes(); }),
      {"L3_gguf_part_missing",
       [](const fs::path& folder) {
         put(folder / "m-00001-of-00002.gguf", TinyGguf().builder().key("split.count", 2u).bytes());
       },
       "m-00001-of-00002.gguf"},
      {"L3_gguf_first_part_missing",
       [](const fs::path& folder) { put(folder / "m-00002-of-00002.gguf", TinyGguf().bytes()); },
       "m-00002-of-00002.gguf"},
  };
}

}  // namespace

std::vector<HostileCase> gguf_cases() {
  std::vector<HostileCase> out;
  for (auto* group : {counts, places, collisions, parts})
    for (HostileCase& one : group()) out.push_back(std::move(one));
  // A sparse tail makes the file longer than what a header may take.
  for (HostileCase& one : out)
    if (one.name == "L1_gguf_header_too_long")
      one.make = [make = one.make](const fs::path& folder) {
        make(folder);
        fs::resize_file(folder / "model.gguf", uint64_t{400} << 20);
      };
  return out;
}

}  // namespace fathom::testing

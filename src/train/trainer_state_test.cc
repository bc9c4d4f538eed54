// A trainer's state comes back bit for bit, and whatever is wrong with it is refused by name.
#include "train/trainer_state.h"

#include <gmock/gmock.h>

#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "formats/safetensors.h"
#include "tests/testing.h"

namespace fathom {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const RunIdentity kIdentity{{"recipe", "0123abcd"}, {"profile", "exact"}};

NamedTensors made_up(uint64_t seed) {
  NamedTensors out{{"optimizer.steps", zeros(DType::kI64, {1})},
                   {"adamw.m.w", from_values(testing::random_floats(35, seed), {5, 7})},
                   {"ema.w", from_values(testing::random_floats(3, seed + 1), {3})}};
  *out[0].second.data<int64_t>() = static_cast<int64_t>(seed);
  return out;
}

bool same(const NamedTensors& a, const NamedTensors& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(a[i].second.bytes(), b[i].second.bytes(), a[i].second.size_bytes()) != 0) return false;
  return a.size() == b.size();
}

void write(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

class TrainerState : public ::testing::Test {
 protected:
  TrainerState() {
    write(dir_.path() / "model.safetensors", "the model's bytes");
    save_trainer_state(dir_.path(), {12, 3456}, kIdentity, made_up(1), std::vector<std::string>{"model.safetensors"});
  }
  /// The Error's message; empty: taken. Whatever is refused leaves the live tensors as they were.
  std::string refusal(const RunIdentity& identity, const NamedTensors& live) {
    NamedTensors before;
    for (const auto& [name, t] : live) {
      before.emplace_back(name, make_tensor(t.dtype(), t.shape()));
      std::memcpy(before.back().second.bytes(), t.bytes(), t.size_bytes());
    }
    try {
      (void)load_trainer_state(dir_.path(), identity, live);
    } catch (const Error& e) {
      EXPECT_TRUE(same(before, live));
      return e.what();
    }
    return "";
  }
  std::string refusal() { return refusal(kIdentity, made_up(9)); }
  std::string text(const char* name) { return testing::read_file(dir_.path() / name); }
  void replace(const char* name, const std::string& from, const std::string& to) {
    std::string all = text(name);
    const size_t at = all.find(from);
    ASSERT_NE(std::string::npos, at);
    write(dir_.path() / name, all.replace(at, from.size(), to));
  }

  testing::TempDir dir_;
};

TEST_F(TrainerState, ComesBackBitForBit) {
  const NamedTensors live = made_up(9);
  ASSERT_FALSE(same(made_up(1), live));
  const TrainerProgress progress = load_trainer_state(dir_.path(), kIdentity, live);
  EXPECT_EQ(12u, progress.step);
  EXPECT_EQ(3456u, progress.tokens);
  EXPECT_TRUE(same(made_up(1), live));
}

TEST_F(TrainerState, DamagedBytesAreFound) {
  for (const char* name : {"trainer.json", "trainer.safetensors", "model.safetensors"}) {
    const std::string good = text(name);
    for (size_t i = 0; i < good.size(); i += 5) {
      if (good[i] == ' ' || good[i] == '\n') continue;  // between JSON's words they mean nothing
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 1);
      write(dir_.path() / name, bad);
      EXPECT_THAT(refusal(), HasSubstr(dir_.path().string())) << name << " byte " << i;
    }
    for (const size_t kept : {size_t{0}, size_t{1}, good.size() - 2}) {
      write(dir_.path() / name, good.substr(0, kept));
      EXPECT_NE("", refusal()) << name << " cut to " << kept;
    }
    fs::remove(dir_.path() / name);
    EXPECT_THAT(refusal(), HasSubstr(name));
    write(dir_.path() / name, good);
    EXPECT_EQ("", refusal());
  }
}

TEST_F(TrainerState, OfAnotherRunIsRefusedByName) {
  EXPECT_THAT(refusal({{"recipe", "0123abcd"}, {"profile", "bf16"}}, made_up(9)),
              HasSubstr("profile: expected bf16, found exact"));
  EXPECT_THAT(refusal({{"recipe", "0123abcd"}, {"profile", "exact"}, {"processes", "2"}}, made_up(9)),
              HasSubstr("processes: expected 2, found none"));
  EXPECT_THAT(refusal({{"recipe", "0123abcd"}}, made_up(9)), HasSubstr("expected 1 entries, found 2"));
}

TEST_F(TrainerState, FilesOfTwoStepsAreNotMixed) {
  const std::string earlier = text("trainer.safetensors");
  save_trainer_state(dir_.path(), {13, 4000}, kIdentity, made_up(2), {});
  EXPECT_EQ("", refusal());
  write(dir_.path() / "trainer.safetensors", earlier);
  EXPECT_THAT(refusal(), HasSubstr("trainer.safetensors: expected checksum"));
}

TEST_F(TrainerState, TensorsThatDoNotFitAreRefused) {
  NamedTensors live = made_up(9);
  live.pop_back();
  EXPECT_THAT(refusal(kIdentity, live), HasSubstr("tensor ema.w: expected only what this run trains"));
  live = made_up(9);
  live.emplace_back("adamw.v.w", zeros(DType::kF32, {1}));
  EXPECT_THAT(refusal(kIdentity, live), HasSubstr("adamw.v.w"));
  live = made_up(9);
  live[1].second = zeros(DType::kF32, {7, 5});
  EXPECT_THAT(refusal(kIdentity, live), HasSubstr("adamw.m.w: expected shape"));
  live[1].second = zeros(DType::kF64, {5, 7});
  EXPECT_THAT(refusal(kIdentity, live), HasSubstr("adamw.m.w: expected type F64, found F32"));
}

TEST_F(TrainerState, ForeignFilesAreRefused) {
  replace("trainer.json", "fathom-trainer", "other-trainer");
  EXPECT_THAT(refusal(), HasSubstr("format: expected fathom-trainer, found other-trainer"));
  replace("trainer.json", "other-trainer", "fathom-trainer");
  replace("trainer.json", "\"version\": 1", "\"version\": 2");
  EXPECT_THAT(refusal(), HasSubstr("version: expected 1, found 2"));
  write(dir_.path() / "trainer.json", "[]");
  EXPECT_THAT(refusal(), HasSubstr("trainer.json"));
}

TEST_F(TrainerState, HostileFilesWithAChecksumThatFitsAreRefused) {
  const std::string good = text("trainer.json");
  const auto altered = [&](const std::string& from, const std::string& to) {
    write(dir_.path() / "trainer.json", good);
    replace("trainer.json", from, to);
    const std::string message = refusal(), sign = "expected checksum ";
    const size_t at = message.find(sign);
    if (at == std::string::npos) return message;
    std::string all = text("trainer.json");
    const std::string own = "\"checksum\": \"";  // the last one is the file's own
    write(dir_.path() / "trainer.json", all.replace(all.rfind(own) + own.size(), 16, message, at + sign.size(), 16));
    return refusal();
  };
  EXPECT_THAT(altered("\"model.safetensors\"", "\"../model.safetensors\""),
              HasSubstr("expected the name of a file beside it, found ../model.safetensors"));
  EXPECT_NE("", altered("\"model.safetensors\"", "\"..\""));
  EXPECT_THAT(altered("\"step\": 12", "\"step\": -1"), HasSubstr("step: expected at least 0, found -1"));
  EXPECT_THAT(altered("\"tokens\": 3456", "\"tokens\": true"), HasSubstr("tokens: expected"));
}

}  // namespace
}  // namespace fathom

// The hashes against the standards' own examples and against git.
#include "hub/sha.h"

#include <gtest/gtest.h>

#include <fstream>

#include "hub/local_file.h"
#include "hub/part_file.h"
#include "tests/testing.h"

namespace fathom {
namespace {

std::string sha1(std::string_view text) {
  Sha1 sha;
  sha.update(text);
  return sha.hex();
}

TEST(Sha, StandardVectors) {  // FIPS 180-4's examples, and the empty text
  EXPECT_EQ(sha1(""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
  EXPECT_EQ(sha1("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(sha1("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(sha1(std::string(1'000'000, 'a')), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
  Sha256 sha;
  sha.update("a");
  sha.update("bc");
  EXPECT_EQ(sha.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha, PiecesChangeNothing) {
  const std::vector<uint8_t> bytes = testing::random_bytes(300, 1);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (size_t size = 0; size <= text.size(); ++size) {  // every tail of the last block
    const std::string whole = sha1(text.substr(0, size));
    for (const size_t cut : {size / 3, size / 2, size - size / 7}) {
      Sha1 sha;
      sha.update(text.substr(0, cut));
      sha.update(text.substr(cut, size - cut));
      EXPECT_EQ(sha.hex(), whole) << size << " cut at " << cut;
    }
  }
}

TEST(Sha, FilesAreNamedAsGitNamesThem) {
  const testing::TempDir dir;
  std::ofstream(dir.path() / "x") << "hello\n";
  const FileHashes hashes = hash_file(dir.path() / "x", true, std::atomic<bool>{false});
  EXPECT_EQ(hashes.git_oid, "ce013625030ba8dba906f756967f9e9ca394464a");  // echo hello | git hash-object --stdin
  EXPECT_EQ(hashes.sha256, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  EXPECT_EQ(hash_file(dir.path() / "x", false, std::atomic<bool>{true}).sha256, "");
}

TEST(PartFile, GoesOnWhereItStopped) {
  const testing::TempDir dir;
  const RemoteFile file{"sub/x", 20 << 20, std::string(64, 'a'), ""};
  {
    PartFile part(dir.path(), file);
    ASSERT_EQ(part.pieces(), 3u);
    part.append(1, std::string(1000, 'x'));
    part.append(2, std::string((20 << 20) - part.begin(2), 'y'));
    part.set_etag("\"t\"");
    part.save();
    EXPECT_THROW(part.append(2, "z"), Error);
  }
  PartFile part(dir.path(), file);
  EXPECT_EQ(part.done(0), 0u);
  EXPECT_EQ(part.done(1), 1000u);
  EXPECT_TRUE(part.piece_complete(2));
  EXPECT_EQ(part.etag(), "\"t\"");
  EXPECT_EQ(part_bytes(dir.path()), part.done_bytes());
  RemoteFile other = file;
  other.sha256[0] = 'b';
  EXPECT_EQ(PartFile(dir.path(), other).done_bytes(), 0u);  // bytes of another content are worth nothing
}

TEST(PartFile, StatesThatSayMoreThanIsThere) {
  const testing::TempDir dir;
  const RemoteFile file{"x", 1000, std::string(64, 'a'), ""};
  {
    PartFile part(dir.path(), file);
    part.append(0, std::string(900, 'x'));
    part.save();
  }
  std::filesystem::resize_file(dir.path() / "x.part", 500);
  EXPECT_EQ(PartFile(dir.path(), file).done_bytes(), 0u);
}

TEST(FolderLock, OneAtATime) {
  const testing::TempDir dir;
  FolderLock a, b;
  EXPECT_TRUE(a.try_lock(dir.path()));
  EXPECT_FALSE(b.try_lock(dir.path()));
  a = FolderLock();
  EXPECT_TRUE(b.try_lock(dir.path()));
  FolderLock c;
  EXPECT_FALSE(c.try_lock(dir.path() / "absent"));
}

}  // namespace
}  // namespace fathom

#include "server/app/chat_tables.h"

#include <array>

namespace fathom {
namespace {

// Ids are random, `num` is the order in which things were made and the number of a row in the index. "" stands for
// none. A parent is a message of the same chat (chat_store.cc sees to it) that is older, so that a tree has no cycles.
constexpr std::string_view kTables = R"sql(
CREATE TABLE app_folders (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, position INTEGER NOT NULL
);
CREATE TABLE app_templates (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE app_preferences (
  one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL
);
CREATE TABLE app_chats (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  title TEXT NOT NULL DEFAULT '',
  folder TEXT NOT NULL DEFAULT '',
  pinned INTEGER NOT NULL DEFAULT 0,
  archived INTEGER NOT NULL DEFAULT 0,
  tags TEXT NOT NULL DEFAULT '[]',
  system TEXT NOT NULL DEFAULT '',
  settings TEXT NOT NULL DEFAULT '{}',
  leaf TEXT NOT NULL DEFAULT '',
  created BIGINT NOT NULL,
  updated BIGINT NOT NULL,
  deleted BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX app_chats_list ON app_chats (deleted, archived, pinned, updated);
CREATE INDEX app_chats_updated ON app_chats (updated);
CREATE TABLE app_messages (
  num INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  chat TEXT NOT NULL REFERENCES app_chats (id) ON DELETE CASCADE,
  parent TEXT NOT NULL,
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  thinking TEXT NOT NULL,
  status TEXT NOT NULL,
  error TEXT NOT NULL,
  model TEXT NOT NULL,
  info TEXT NOT NULL,
  asked TEXT NOT NULL,
  created BIGINT NOT NULL
);
CREATE INDEX app_messages_tree ON app_messages (chat, parent);
CREATE INDEX app_messages_running ON app_messages (status) WHERE status = 'running';
)sql";

// The index holds no texts of its own. An answer enters it when it is over: while it grows it is written often.
constexpr std::string_view kSearch = R"sql(
CREATE VIRTUAL TABLE app_titles USING fts5(
  title, content = 'app_chats', content_rowid = 'num',
  tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3');
CREATE TRIGGER app_titles_insert AFTER INSERT ON app_chats BEGIN
  INSERT INTO app_titles (rowid, title) VALUES (new.num, new.title);
END;
CREATE TRIGGER app_titles_delete AFTER DELETE ON app_chats BEGIN
  INSERT INTO app_titles (app_titles, rowid, title) VALUES ('delete', old.num, old.title);
END;
CREATE TRIGGER app_titles_update AFTER UPDATE OF title ON app_chats WHEN old.title <> new.title BEGIN
  INSERT INTO app_titles (app_titles, rowid, title) VALUES ('delete', old.num, old.title);
  INSERT INTO app_titles (rowid, title) VALUES (new.num, new.title);
END;
CREATE VIRTUAL TABLE app_texts USING fts5(
  content, thinking, content = 'app_messages', content_rowid = 'num',
  tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3');
CREATE TRIGGER app_texts_insert AFTER INSERT ON app_messages WHEN new.status <> 'running' BEGIN
  INSERT INTO app_texts (rowid, content, thinking) VALUES (new.num, new.content, new.thinking);
END;
CREATE TRIGGER app_texts_delete AFTER DELETE ON app_messages WHEN old.status <> 'running' BEGIN
  INSERT INTO app_texts (app_texts, rowid, content, thinking)
    VALUES ('delete', old.num, old.content, old.thinking);
END;
CREATE TRIGGER app_texts_update AFTER UPDATE OF status, content, thinking ON app_messages BEGIN
  INSERT INTO app_texts (app_texts, rowid, content, thinking)
    SELECT 'delete', old.num, old.content, old.thinking WHERE old.status <> 'running';
  INSERT INTO app_texts (rowid, content, thinking)
    SELECT new.num, new.content, new.thinking WHERE new.status <> 'running';
END;
)sql";

// What answer_tokens.h packs.
constexpr std::string_view kTokens = R"sql(
CREATE TABLE app_tokens (
  message TEXT PRIMARY KEY REFERENCES app_messages (id) ON DELETE CASCADE,
  packed BLOB NOT NULL
);
)sql";

// For a beginning of a word that has no index of its own, all places of all such words are merged before the first is
// found: 8 ms of CPU for a common word of four letters in 20,000 messages, against 0.1 for one of two. Common words of
// five and more are rarer.
constexpr std::string_view kFourLetters = R"sql(
DROP TABLE app_texts;
CREATE VIRTUAL TABLE app_texts USING fts5(
  content, thinking, content = 'app_messages', content_rowid = 'num',
  tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3 4');
INSERT INTO app_texts (rowid, content, thinking)
  SELECT num, content, thinking FROM app_messages WHERE status <> 'running';
)sql";

constexpr std::array kMigrations{kTables, kSearch, kTokens, kFourLetters};

}  // namespace

std::span<const std::string_view> app_migrations() { return kMigrations; }

}  // namespace fathom

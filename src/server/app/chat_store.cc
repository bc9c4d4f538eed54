#include "server/app/chat_store.h"

#include <soci/soci.h>

#include <algorithm>
#include <map>

#include "server/api/error.h"
#include "server/api/generate.h"
#include "server/app/chat_tables.h"

namespace fathom {
namespace {

using soci::use;

constexpr const char* kChatColumns =
    "id, title, folder, pinned, archived, tags, system, settings, leaf, created, updated";
constexpr const char* kMessageColumns =
    "m.id, m.chat, m.parent, m.role, m.content, m.thinking, m.status, m.error, m.model, m.info, m.asked, m.created";

json::value parsed(const std::string& text) { return parse_json(text, "the store"); }

/// The chats that `rest` of a query selects, with its parameters.
template <class... Uses>
std::vector<AppChat> select_chats(soci::session& sql, const std::string& rest, const Uses&... values) {
  AppChat c;
  std::string tags, settings;
  int pinned = 0, archived = 0;
  long long created = 0, updated = 0;
  soci::statement query(sql);
  using soci::into;
  for (std::string* text : {&c.id, &c.title, &c.folder}) query.exchange(into(*text));
  query.exchange(into(pinned)), query.exchange(into(archived));
  for (std::string* text : {&tags, &c.system, &settings, &c.leaf}) query.exchange(into(*text));
  query.exchange(into(created)), query.exchange(into(updated));
  (query.exchange(use(values)), ...);
  query.alloc();
  query.prepare(cat("SELECT ", kChatColumns, " FROM app_chats ", rest));
  query.define_and_bind();
  query.execute();
  std::vector<AppChat> out;
  while (query.fetch()) {
    c.pinned = pinned != 0, c.archived = archived != 0, c.created = created, c.updated = updated;
    c.tags = parsed(tags).as_array(), c.settings = parsed(settings).as_object();
    out.push_back(c);
  }
  return out;
}

/// The messages that `query` selects, from a table named m.
template <class... Uses>
std::vector<AppMessage> select_messages(soci::session& sql, const std::string& before, const std::string& rest,
                                        const Uses&... values) {
  AppMessage m;
  std::string info, asked;
  long long created = 0;
  soci::statement query(sql);
  using soci::into;
  for (std::string* text :
       {&m.id, &m.chat, &m.parent, &m.role, &m.content, &m.thinking, &m.status, &m.error, &m.model, &info, &asked})
    query.exchange(into(*text));
  query.exchange(into(created));
  (query.exchange(use(values)), ...);
  query.alloc();
  query.prepare(cat(before, "SELECT ", kMessageColumns, rest));
  query.define_and_bind();
  query.execute();
  std::vector<AppMessage> out;
  while (query.fetch()) {
    m.created = created, m.info = parsed(info).as_object(), m.asked = parsed(asked).as_object();
    out.push_back(m);
  }
  return out;
}

AppChat find_chat(soci::session& sql, const std::string& id) {
  const std::vector<AppChat> found = select_chats(sql, "WHERE id = :id AND deleted = 0", id);
  if (found.empty()) throw not_found(cat("no such chat: '", id.substr(0, 100), "'"), "chat_not_found");
  return found.front();
}

AppMessage find_message(soci::session& sql, const std::string& id) {
  const std::vector<AppMessage> found = select_messages(
      sql, "", " FROM app_messages m JOIN app_chats c ON c.id = m.chat WHERE m.id = :id AND c.deleted = 0", id);
  if (found.empty()) throw not_found(cat("no such message: '", id.substr(0, 100), "'"), "message_not_found");
  return found.front();
}

/// Throws unless the message is one of the chat's.
void require_message(soci::session& sql, const std::string& id, const std::string& chat, const char* field) {
  int found = 0;
  sql << "SELECT count(*) FROM app_messages WHERE id = :id AND chat = :chat", soci::into(found), use(id), use(chat);
  if (found == 0)
    throw wrong_field(field, cat(field, ": expected a message of this chat, found '", id.substr(0, 100), "'"));
}

void require_folder(soci::session& sql, const std::string& id) {
  if (id.empty()) return;
  int found = 0;
  sql << "SELECT count(*) FROM app_folders WHERE id = :id", soci::into(found), use(id);
  if (found == 0) throw wrong_field("folder", cat("folder: expected a folder, found '", id.substr(0, 100), "'"));
}

/// A time of change that no other chat has, so that pages of a list end between two chats.
long long next_change(soci::session& sql) {
  long long last = 0;
  sql << "SELECT coalesce(max(updated), 0) FROM app_chats", soci::into(last);
  return std::max<long long>(unix_ms(), last + 1);
}

void write_chat(soci::session& sql, const AppChat& c) {
  const int pinned = c.pinned, archived = c.archived;
  const std::string tags = to_json(c.tags), settings = to_json(c.settings);
  sql << "UPDATE app_chats SET title = :t, folder = :f, pinned = :p, archived = :a, tags = :g, system = :s, "
         "settings = :e, leaf = :l WHERE id = :id",
      use(c.title), use(c.folder), use(pinned), use(archived), use(tags), use(c.system), use(settings), use(c.leaf),
      use(c.id);
}

void insert_chat(soci::session& sql, const AppChat& chat) {
  const long long created = chat.created, updated = chat.updated;
  sql << "INSERT INTO app_chats (id, created, updated) VALUES (:id, :c, :u)", use(chat.id), use(created), use(updated);
  write_chat(sql, chat);
}

/// The same for a time that is given: one that is free, soon behind it. Many chats of a file may have the same time, so
/// that after some steps it leaps, and further each time it must.
long long free_change(soci::session& sql, const long long time) {
  constexpr uint64_t kSteps = 16;
  uint64_t step = 0, farthest = kSteps;
  for (uint64_t tries = 0;; ++tries) {
    const long long wanted = time + static_cast<long long>(step);
    int taken = 0;
    sql << "SELECT count(*) FROM app_chats WHERE updated = :u", soci::into(taken), use(wanted);
    if (taken == 0) return wanted;
    step = tries < kSteps ? tries + 1 : draw_seed() % (farthest *= 2);
  }
}

/// The folder's id.
std::string folder_named(soci::session& sql, const std::string& name) {
  std::string id;
  sql << "SELECT id FROM app_folders WHERE name = :n ORDER BY position LIMIT 1", soci::into(id), use(name);
  if (sql.got_data()) return id;
  id = random_id();
  sql << "INSERT INTO app_folders SELECT :id, :n, coalesce(max(position), 0) + 1 FROM app_folders", use(id), use(name);
  return id;
}

void insert_message(soci::session& sql, const AppMessage& m) {
  const std::string info = to_json(m.info), asked = to_json(m.asked);
  const long long created = m.created;
  sql << "INSERT INTO app_messages (id, chat, parent, role, content, thinking, status, error, model, info, asked, "
         "created) VALUES (:id, :chat, :parent, :role, :content, :thinking, :status, :error, :model, :info, :asked, "
         ":created)",
      use(m.id), use(m.chat), use(m.parent), use(m.role), use(m.content), use(m.thinking), use(m.status), use(m.error),
      use(m.model), use(info), use(asked), use(created);
}

/// The message that was made last below `parent` (empty: in the chat), or `parent` itself.
std::string newest_below(soci::session& sql, const std::string& chat, std::string parent) {
  while (true) {
    std::string child;
    sql << "SELECT id FROM app_messages WHERE chat = :c AND parent = :p ORDER BY num DESC LIMIT 1", soci::into(child),
        use(chat), use(parent);
    if (!sql.got_data()) return parent;
    parent = child;
  }
}

}  // namespace

ChatStore::ChatStore(std::shared_ptr<Database> database) : database_(std::move(database)) {
  database_->migrate("app", app_migrations());
  database_->with(
      [](soci::session& sql) { sql << "UPDATE app_messages SET status = 'stopped' WHERE status = 'running'"; });
}

ChatPage ChatStore::chats(const ChatQuery& query) {
  return database_->read([&](soci::session& sql) {
    const int archived = query.archived;
    const std::string folder = query.folder.value_or("");
    const std::string where =
        cat("WHERE deleted = 0 AND archived = :a", query.folder ? " AND folder = :f" : " AND :f = ''");
    ChatPage page;
    if (!query.before)
      page.chats = select_chats(sql, where + " AND pinned = 1 ORDER BY updated DESC", archived, folder);
    const long long before = query.before.value_or(INT64_MAX), limit = static_cast<long long>(query.limit) + 1;
    std::vector<AppChat> rest =
        select_chats(sql, where + " AND pinned = 0 AND updated < :b ORDER BY updated DESC LIMIT :l", archived, folder,
                     before, limit);
    if (rest.size() > query.limit) {
      rest.pop_back();
      page.next = rest.back().updated;
    }
    page.chats.insert(page.chats.end(), rest.begin(), rest.end());
    return page;
  });
}

AppChat ChatStore::chat(const std::string& id) {
  return database_->read([&](soci::session& sql) { return find_chat(sql, id); });
}

size_t ChatStore::count() {
  return database_->read([](soci::session& sql) {
    long long count = 0;
    sql << "SELECT count(*) FROM app_chats WHERE deleted = 0", soci::into(count);
    return static_cast<size_t>(count);
  });
}

AppChat ChatStore::create(AppChat chat) {
  return database_->with([&](soci::session& sql) {
    require_folder(sql, chat.folder);
    chat.id = random_id();
    chat.created = unix_ms(), chat.updated = next_change(sql);
    insert_chat(sql, chat);
    return chat;
  });
}

AppChat ChatStore::insert(AppChat chat, std::vector<AppMessage> messages) {
  return database_->with([&](soci::session& sql) {
    const auto past = [now = unix_ms()](int64_t time) { return std::clamp<int64_t>(time, 0, now); };
    if (!chat.folder.empty()) chat.folder = folder_named(sql, chat.folder);
    std::map<std::string, std::string> ids;
    for (AppMessage& m : messages) m.id = ids[m.id] = random_id();
    const auto new_id = [&](const std::string& id) {
      const auto found = id.empty() ? ids.end() : ids.find(id);
      return found == ids.end() ? std::string() : found->second;
    };
    for (AppMessage& m : messages) m.parent = new_id(m.parent);
    chat.leaf = new_id(chat.leaf);
    chat.id = random_id();
    if (chat.created == 0)
      chat.created = messages.empty() || messages.front().created == 0 ? unix_ms() : messages.front().created;
    chat.created = past(chat.created);
    chat.updated = free_change(sql, std::max(past(chat.updated), chat.created));
    if (chat.title.empty())
      for (const AppMessage& m : messages)
        if (m.role == "user" && chat.title.empty()) chat.title = title_of(m.content);
    insert_chat(sql, chat);
    for (AppMessage& m : messages) {
      m.chat = chat.id;
      m.created = m.created == 0 ? chat.created : past(m.created);
      insert_message(sql, m);
    }
    return chat;
  });
}

std::vector<std::string> ChatStore::ids() {
  return database_->read([](soci::session& sql) {
    std::string id;
    soci::statement list = (sql.prepare << "SELECT id FROM app_chats WHERE deleted = 0 ORDER BY num", soci::into(id));
    list.execute();
    std::vector<std::string> out;
    while (list.fetch()) out.push_back(id);
    return out;
  });
}

AppChat ChatStore::change(const std::string& id, const ChatChange& change) {
  return database_->with([&](soci::session& sql) {
    AppChat c = find_chat(sql, id);
    if (change.folder) require_folder(sql, *change.folder);
    if (change.leaf && !change.leaf->empty()) require_message(sql, *change.leaf, id, "leaf");
    c.title = change.title.value_or(c.title), c.folder = change.folder.value_or(c.folder);
    c.system = change.system.value_or(c.system), c.leaf = change.leaf.value_or(c.leaf);
    c.pinned = change.pinned.value_or(c.pinned), c.archived = change.archived.value_or(c.archived);
    c.tags = change.tags.value_or(c.tags), c.settings = change.settings.value_or(c.settings);
    write_chat(sql, c);
    return c;
  });
}

void ChatStore::remove(const std::string& id) {
  database_->with([&](soci::session& sql) {
    find_chat(sql, id);
    const long long now = unix_ms();
    sql << "UPDATE app_chats SET deleted = :now WHERE id = :id", use(now), use(id);
  });
}

AppChat ChatStore::restore(const std::string& id) {
  return database_->with([&](soci::session& sql) {
    sql << "UPDATE app_chats SET deleted = 0 WHERE id = :id", use(id);
    return find_chat(sql, id);
  });
}

void ChatStore::erase(const std::string& id) {
  database_->with([&](soci::session& sql) {
    int found = 0;
    sql << "SELECT count(*) FROM app_chats WHERE id = :id", soci::into(found), use(id);
    if (found == 0) throw not_found(cat("no such chat: '", id.substr(0, 100), "'"), "chat_not_found");
    sql << "DELETE FROM app_chats WHERE id = :id", use(id);
  });
}

size_t ChatStore::purge(int64_t deleted_before) {
  return database_->with([&](soci::session& sql) {
    const long long before = deleted_before;
    soci::statement purge =
        (sql.prepare << "DELETE FROM app_chats WHERE deleted > 0 AND deleted < :before", use(before));
    purge.execute(true);
    return static_cast<size_t>(purge.get_affected_rows());
  });
}

std::vector<AppMessage> ChatStore::messages(const std::string& chat) {
  return database_->read([&](soci::session& sql) {
    find_chat(sql, chat);
    return select_messages(sql, "", " FROM app_messages m WHERE m.chat = :c ORDER BY m.num", chat);
  });
}

AppMessage ChatStore::message(const std::string& id) {
  return database_->read([&](soci::session& sql) { return find_message(sql, id); });
}

std::vector<AppMessage> ChatStore::branch(const std::string& id) {
  return database_->read([&](soci::session& sql) {
    find_message(sql, id);
    return select_messages(sql,
                           "WITH RECURSIVE up(id, parent, depth) AS (SELECT id, parent, 0 FROM app_messages WHERE id = "
                           ":id UNION ALL SELECT p.id, p.parent, up.depth + 1 FROM up JOIN app_messages p ON p.id = "
                           "up.parent) ",
                           " FROM up JOIN app_messages m ON m.id = up.id ORDER BY up.depth DESC", id);
  });
}

AppMessage ChatStore::add(AppMessage message) {
  return database_->with([&](soci::session& sql) {
    AppChat c = find_chat(sql, message.chat);
    if (!message.parent.empty()) require_message(sql, message.parent, message.chat, "parent");
    message.id = random_id();
    message.created = unix_ms();
    insert_message(sql, message);
    c.leaf = message.id;
    if (c.title.empty() && message.role == "user") c.title = title_of(message.content);
    write_chat(sql, c);
    const long long updated = next_change(sql);
    sql << "UPDATE app_chats SET updated = :u WHERE id = :id", use(updated), use(c.id);
    return message;
  });
}

void ChatStore::keep_progress(const std::string& id, const std::string& content, const std::string& thinking) {
  database_->with([&](soci::session& sql) {
    sql << "UPDATE app_messages SET content = :c, thinking = :t WHERE id = :id AND status = 'running'", use(content),
        use(thinking), use(id);
  });
}

std::optional<AppMessage> ChatStore::finish(const AppMessage& answer) {
  return database_->with([&](soci::session& sql) -> std::optional<AppMessage> {
    const std::string info = to_json(answer.info);
    soci::statement end =
        (sql.prepare << "UPDATE app_messages SET content = :c, thinking = :t, status = :s, error = :e, info = :i "
                        "WHERE id = :id",
         use(answer.content), use(answer.thinking), use(answer.status), use(answer.error), use(info), use(answer.id));
    end.execute(true);
    if (end.get_affected_rows() == 0) return std::nullopt;
    if (!answer.tokens.empty()) {
      soci::blob packed(sql);
      packed.write(0, answer.tokens.data(), answer.tokens.size());
      sql << "INSERT OR REPLACE INTO app_tokens (message, packed) VALUES (:id, :p)", use(answer.id), use(packed);
    }
    const long long updated = next_change(sql);
    sql << "UPDATE app_chats SET updated = :u WHERE id = :id", use(updated), use(answer.chat);
    return answer;
  });
}

std::string ChatStore::tokens(const std::string& id) {
  return database_->read([&](soci::session& sql) {
    find_message(sql, id);
    soci::blob packed(sql);
    sql << "SELECT packed FROM app_tokens WHERE message = :id", soci::into(packed), use(id);
    std::string out;
    if (!sql.got_data()) return out;
    out.resize(packed.get_len());
    packed.read(0, out.data(), out.size());
    return out;
  });
}

std::vector<std::string> ChatStore::remove_message(const std::string& id) {
  return database_->with([&](soci::session& sql) {
    const AppMessage gone = find_message(sql, id);
    std::vector<std::string> ids;
    const std::string below =
        "WITH RECURSIVE below(id) AS (SELECT id FROM app_messages WHERE id = :id UNION ALL SELECT m.id FROM below JOIN "
        "app_messages m ON m.chat = :chat AND m.parent = below.id) ";
    {
      std::string each;
      soci::statement list =
          (sql.prepare << below << "SELECT id FROM below", soci::into(each), use(id, "id"), use(gone.chat, "chat"));
      list.execute();
      while (list.fetch()) ids.push_back(each);
    }
    sql << below << "DELETE FROM app_messages WHERE id IN (SELECT id FROM below)", use(id, "id"),
        use(gone.chat, "chat");
    AppChat c = find_chat(sql, gone.chat);
    if (std::find(ids.begin(), ids.end(), c.leaf) != ids.end()) {
      c.leaf = newest_below(sql, c.id, gone.parent);
      write_chat(sql, c);
    }
    return ids;
  });
}

}  // namespace fathom

#!/usr/bin/env python3
"""The app's server: chats and their trees, answers that go on without a page, streams that are picked up again."""
import contextlib
import sqlite3
import threading
import unittest

import _fathom
from _app import API, THINKING, AppTest, gathered
from _server import wait_until


class Chats(AppTest):
    def test_an_answer_is_the_apis(self):
        settings = {"seed": 7, "max_tokens": 24, "temperature": 0.8, "top_p": 0.9}
        chat = self.app.new_chat(system="You are brief.", settings=settings)
        question = self.app.say(chat, "Name three colours.")
        running = self.app.answer(chat, question)
        self.assertEqual((running["status"], running["role"], running["parent"]), ("running", "assistant", question["id"]))
        _, text, done = self.app.whole(running)
        asked = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Name three colours."}]
        reply = self.app.post("/v1/chat/completions", messages=asked, **settings)
        self.assertEqual(text, reply.text)
        self.assertEqual((done["content"], done["status"]), (text, "done"))
        info, usage = done["info"], reply.json()["usage"]
        self.assertEqual(info["prompt_tokens"], usage["prompt_tokens"])
        self.assertEqual(info["completion_tokens"], usage["completion_tokens"])
        self.assertEqual((info["seed"], info["settings"]), (7, settings))
        self.assertEqual(info["model_file"], self.model.name)
        # The next turn has the whole branch in its prompt.
        more = self.app.say(chat, "And one more?", done)
        second = self.app.finished(chat, more)
        asked += [{"role": "assistant", "content": text}, {"role": "user", "content": "And one more?"}]
        self.assertEqual(second["content"], self.app.post("/v1/chat/completions", messages=asked, **settings).text)
        # Without a seed one is drawn and told, and the answer can be had again.
        free = self.app.finished(chat, question, settings={"seed": None, "temperature": 1})
        again = self.app.finished(chat, question, settings={"seed": free["info"]["seed"], "temperature": 1})
        self.assertEqual(free["content"], again["content"])

    def test_an_answer_that_the_store_does_not_take_is_over_all_the_same(self):
        chat = self.app.new_chat(settings={"seed": 3, "max_tokens": 8})
        question = self.app.say(chat, "Hello")

        def store(change):
            with contextlib.closing(sqlite3.connect(self.store)) as database, database:
                database.execute(change)

        store("CREATE TRIGGER refuse BEFORE UPDATE OF info ON app_messages BEGIN SELECT RAISE(ABORT, 'no room'); END")
        try:
            answer = self.app.answer(chat, question)
            _, text, told = self.app.whole(answer)
            self.assertEqual((told["status"], told["content"]), ("failed", text))
            self.assertIn("could not be kept", told["error"])
            self.assertEqual(self.app.call("GET", f"chats/{chat['id']}")["messages"][-1], told)
            self.assertEqual(self.app.whole(answer)[2], told)
        finally:
            store("DROP TRIGGER refuse")

        def last():
            return self.app.call("GET", f"chats/{chat['id']}")["messages"][-1]

        wait_until(lambda: last()["status"] == "done", "the answer in the store")
        self.assertEqual(last()["content"], text)

    def test_a_store_that_another_program_holds(self):
        with contextlib.closing(sqlite3.connect(self.store, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            replies = []

            def ask():
                replies.append(self.app.request("POST", f"{API}/chats", {}))

            askers = [threading.Thread(target=ask) for _ in range(8)]
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join()
            self.assertEqual([reply.status for reply in replies], [503] * 8)
            for reply in replies:
                self.assertIn("is busy: another program holds it", reply.error["message"])
                self.assertGreater(int(reply.headers["retry-after"]), 0)
            self.assertEqual(self.app.get("/v1/models").status, 200)
            database.execute("ROLLBACK")
        self.app.new_chat()

    def test_a_store_is_one_servers(self):
        code, _, said = _fathom.run("serve", self.model, "--port", "0", "--store", self.store)
        self.assertEqual(code, 1)
        self.assertIn(f"{self.store}: expected a store that no other server uses, found that of process "
                      f"{self.app.process.pid} (--store names another file", said)

    def test_a_chat_is_a_tree(self):
        chat = self.app.new_chat()
        self.assertEqual((chat["title"], chat["leaf"], chat["running"]), ("", None, False))
        first = self.app.say(chat, "  What is the \n capital of France, and why is it the capital rather than Lyon?")
        other = self.app.say(chat, "Hello")
        reply = self.app.call("POST", f"chats/{chat['id']}/messages",
                              {"parent": other["id"], "role": "assistant", "content": "Hi", "thinking": "Greet."})
        whole = self.app.call("GET", f"chats/{chat['id']}")
        self.assertEqual(whole["messages"], [first, other, reply])
        self.assertEqual(whole["title"], "What is the capital of France, and why is it the capital")
        self.assertEqual(whole["leaf"], reply["id"])
        changed = self.app.call("PATCH", f"chats/{chat['id']}",
                                {"leaf": first["id"], "title": "Cities", "pinned": True, "tags": ["a", "b", "a"]})
        self.assertEqual((changed["leaf"], changed["title"], changed["pinned"], changed["tags"]),
                         (first["id"], "Cities", True, ["a", "b"]))
        self.app.call("PATCH", f"chats/{chat['id']}", {"leaf": reply["id"]})
        self.app.call("DELETE", f"messages/{other['id']}")
        whole = self.app.call("GET", f"chats/{chat['id']}")
        self.assertEqual((whole["messages"], whole["leaf"]), ([first], first["id"]))
        self.app.call("GET", f"messages/{reply['id']}/stream", status=404)

    def test_chats_are_listed_and_deleted(self):
        before = {c["id"] for c in self.app.call("GET", "chats?limit=1000")["chats"]}
        chats = [self.app.new_chat(title=f"number {i}") for i in range(5)]
        self.app.call("PATCH", f"chats/{chats[1]['id']}", {"pinned": True})
        self.app.call("PATCH", f"chats/{chats[2]['id']}", {"archived": True})

        def listed(query):
            page = self.app.call("GET", f"chats?{query}")
            return [c["title"] for c in page["chats"] if c["id"] not in before], page["next"]

        titles, _ = listed("limit=1000")
        self.assertEqual(titles[titles.index("number 1") + 1:][-3:], ["number 4", "number 3", "number 0"])
        self.assertEqual(listed("archived=1")[0], ["number 2"])
        first, following = listed("limit=2")
        self.assertEqual([t for t in first if t != "number 1"], ["number 4", "number 3"])
        self.assertEqual(listed(f"limit=1&before={following}")[0], ["number 0"])
        gone = f"chats/{chats[0]['id']}"
        self.assertEqual(self.app.call("DELETE", gone), {"deleted": True})
        self.app.call("GET", gone, status=404)
        self.app.call("PATCH", gone, {"title": "x"}, status=404)
        self.assertEqual(self.app.call("POST", f"{gone}/restore")["title"], "number 0")
        self.app.call("DELETE", f"{gone}?for_good=1")
        self.app.call("POST", f"{gone}/restore", status=404)

    def test_an_answer_is_stopped_and_continued(self):
        chat = self.app.new_chat(settings={"seed": 3, "temperature": 0, "max_tokens": 1500})
        question = self.app.say(chat, "Tell me a long story about the sea.")
        running = self.app.answer(chat, question)
        with self.app.watch(running) as events:
            next(events)
            self.assertTrue(self.app.call("GET", f"chats/{chat['id']}")["running"])
            stopped = self.app.call("POST", f"messages/{running['id']}/stop")
            last = gathered(events)[2]
        self.assertEqual((stopped["status"], last), ("stopped", stopped))
        self.assertEqual(stopped["info"]["finish_reason"], "cancelled")
        self.assertFalse(self.app.call("GET", f"chats/{chat['id']}")["running"])
        self.assertEqual(self.app.call("POST", f"messages/{running['id']}/stop"), stopped, "once is enough")
        on = self.app.finished(chat, question, prefix={"content": "Once upon a time"}, settings={"max_tokens": 12})
        self.assertTrue(on["content"].startswith("Once upon a time"), on)
        self.assertGreater(len(on["content"]), len("Once upon a time"))
        prefix = [{"role": "user", "content": question["content"]},
                  {"role": "assistant", "content": "Once upon a time", "prefix": True}]
        same = self.app.post("/v1/chat/completions", messages=prefix, seed=3, temperature=0, max_tokens=12)
        self.assertEqual(on["content"], "Once upon a time" + same.text)

    def test_streams_are_picked_up_where_they_were_left(self):
        chat = self.app.new_chat(settings={"seed": 5, "max_tokens": 40})
        running = self.app.answer(chat, self.app.say(chat, "Describe a forest."))
        with self.app.watch(running) as events:
            known, said = 0, ""
            for known, event in events:
                said += event.get("text", "")
                if len(said) > 20:
                    break
        _, rest, done = self.app.whole(running, **{"Last-Event-ID": str(known)})
        self.assertEqual(said + rest, done["content"])
        self.assertEqual(self.app.whole(running)[1], done["content"], "a message that is over tells its whole text")
        with self.app.watch(running, "?from=999999") as events:
            self.assertEqual([event["type"] for _, event in events], ["done"])
        self.app.call("GET", f"messages/{running['id']}/stream?from=x", status=400)

    def test_every_page_hears_of_changes(self):
        with self.app.follow("events") as one, self.app.follow("events") as two:
            self.assertEqual(next(one)[1]["type"], "hello")
            self.assertEqual(next(two)[1]["started"], self.app.call("GET", "state")["started"])
            chat = self.app.new_chat()
            question = self.app.say(chat, "Hi")
            self.app.finished(chat, question, settings={"max_tokens": 2})
            self.app.call("DELETE", f"chats/{chat['id']}")
            heard = []
            for _, event in one:
                if chat["id"] in (event["id"], event.get("chat")):
                    heard.append(event["type"])
                if event["type"] == "gone" and event["id"] == chat["id"]:
                    break
            self.assertEqual(heard[:3] + heard[-1:], ["chat", "message", "chat", "gone"])
            self.assertGreaterEqual(heard.count("message"), 3)
            self.assertEqual(next(two)[1], {"type": "chat", "id": chat["id"]})

    def test_what_is_wrong_is_refused(self):
        chat, other = self.app.new_chat(), self.app.new_chat()
        mine, foreign = self.app.say(chat, "mine"), self.app.say(other, "foreign")
        messages, answers = f"chats/{chat['id']}/messages", f"chats/{chat['id']}/answers"
        text = {"role": "user", "content": "x"}
        for method, path, body, status, param in (
                ("POST", messages, {**text, "parent": foreign["id"]}, 400, "parent"),
                ("POST", messages, {**text, "parent": "' OR 1=1 --"}, 400, "parent"),
                ("POST", messages, {**text, "role": "root"}, 400, "role"),
                ("POST", messages, {"role": "user"}, 400, "content"),
                ("POST", messages, {**text, "content": "x" * (8 << 20) + "x"}, 400, "content"),
                ("POST", messages, {**text, "thinking": "hm"}, 400, "thinking"),
                ("POST", messages, {**text, "id": "mine"}, 400, "id"),
                ("POST", answers, {}, 400, "parent"),
                ("POST", answers, {"parent": foreign["id"]}, 400, "parent"),
                ("POST", answers, {"parent": "nobody"}, 404, None),
                ("POST", answers, {"parent": mine["id"], "model": "nobody"}, 404, None),
                ("POST", answers, {"parent": mine["id"], "settings": {"temperature": -1}}, 400, "settings.temperature"),
                ("POST", answers, {"parent": mine["id"], "settings": {"foo": 1}}, 400, "settings.foo"),
                ("PATCH", f"chats/{chat['id']}", {"leaf": foreign["id"]}, 400, "leaf"),
                ("PATCH", f"chats/{chat['id']}", {"folder": "nowhere"}, 400, "folder"),
                ("PATCH", f"chats/{chat['id']}", {"settings": []}, 400, "settings"),
                ("PATCH", f"chats/{chat['id']}", {"settings": {"effort": "huge"}}, 400, "settings.effort"),
                ("PATCH", f"chats/{chat['id']}", [], 400, None),
                ("GET", "chats?limit=0", None, 400, "limit"),
                ("GET", "chats/%27%3B%20DROP%20TABLE%20app_chats", None, 404, None),
                ("POST", "messages/nobody/stop", None, 404, None),
                ("POST", f"messages/{mine['id']}/answer-now", None, 404, None),
                ("PUT", "chats", {}, 405, None), ("GET", "nothing", None, 404, None)):
            error = self.app.call(method, path, body, status=status)["error"]
            self.assertEqual(set(error), {"message", "type", "param", "code"})
            if param:
                self.assertEqual(error["param"], param)
        self.assertEqual(len(self.app.call("GET", f"chats/{chat['id']}")["messages"]), 1, "nothing was left behind")
        long = self.app.say(chat, "word " * 4000, mine)
        error = self.app.call("POST", answers, {"parent": long["id"]}, status=400)["error"]
        self.assertEqual(error["code"], "context_length_exceeded")
        self.assertEqual(len(self.app.call("GET", f"chats/{chat['id']}")["messages"]), 2)

    def test_texts_are_kept_as_they_are(self):
        chat = self.app.new_chat(title="'; DROP TABLE app_chats; --", tags=["\x00", "%"])
        big = "\u00e4\U0001f600\"'\\:x \x00\n" * 100_000
        sent = self.app.say(chat, big)
        whole = self.app.call("GET", f"chats/{chat['id']}")
        self.assertEqual((whole["messages"][0]["content"], whole["title"]), (big, "'; DROP TABLE app_chats; --"))
        self.assertEqual(whole["messages"][0], sent)

    def test_only_its_own_page_may_ask(self):
        own = f"http://127.0.0.1:{self.app.port}"
        self.app.call("GET", "chats", Origin=own)
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
                        {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Host": "evil.example"}):
            for method in ("GET", "POST"):
                reply = self.app.request(method, f"{API}/chats", {} if method == "POST" else None, headers)
                self.assertEqual(reply.status, 403, (method, headers))
        self.app.call("POST", "chats", {}, 415, **{"Content-Type": "text/plain"})

    def test_many_write_at_once(self):
        chat = self.app.new_chat()
        root = self.app.say(chat, "root")
        failures = []

        def write(name):
            try:
                for i in range(15):
                    self.app.say(chat, f"{name} {i}", root)
                    self.app.call("PATCH", f"chats/{chat['id']}", {"title": f"{name} {i}"})
            except AssertionError as e:
                failures.append(e)

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        messages = self.app.call("GET", f"chats/{chat['id']}")["messages"]
        self.assertEqual(sorted(m["content"] for m in messages[1:]), sorted(f"{n} {i}" for n in "abcd" for i in range(15)))


class Thinking(AppTest):
    template = THINKING

    def test_thinking_is_watched_and_hurried(self):
        chat = self.app.new_chat(settings={"seed": 3, "max_tokens": 400})
        running = self.app.answer(chat, self.app.say(chat, "Why is the sky blue?"))
        with self.app.watch(running) as events:
            _, event = next(events)
            self.assertEqual(event["type"], "thinking")
            self.assertEqual(self.app.call("POST", f"messages/{running['id']}/answer-now"), {"ok": True})
            thinking, text, done = gathered(events)
        self.assertEqual((done["thinking"], done["content"]), (event["text"] + thinking, text))
        self.assertTrue(text.strip())
        self.assertGreater(done["info"]["thinking_tokens"], 0)
        # The thinking is edited, and the answer goes on from there.
        edited = self.app.answer(chat, {"id": done["parent"]}, prefix={"thinking": "Light scatters."},
                                 settings={"budget": 10, "max_tokens": 40})
        thinking, text, done = self.app.whole(edited)
        self.assertTrue(done["thinking"].startswith("Light scatters."), done)
        self.assertEqual((done["thinking"], done["content"]), (thinking, text))


class Lazy(AppTest):
    arguments = ("--lazy",)

    def test_pages_hear_that_a_model_is_loaded(self):
        model = self.app.call("GET", "state")["models"][0]
        self.assertEqual((model["loaded"], model["size_bytes"]), (False, self.model.stat().st_size))
        chat = self.app.new_chat()
        question = self.app.say(chat, "Hi")
        with self.app.follow("events") as events:
            self.app.finished(chat, question, settings={"max_tokens": 1})
            last = {"type": "chat", "id": chat["id"]}
            heard = [event["type"] for event in iter(lambda: next(events)[1], last)]
            self.assertIn("models", heard)
        model = self.app.call("GET", "state")["models"][0]
        self.assertEqual((model["loaded"], model["ctx"]), (True, 2048))
        self.assertRegex(model["format"], r"^(I?Q\d\w*|BF16|F16|F32)$")


class Restart(AppTest):
    def begun(self, app, chat):
        """A long answer that runs, some of which is in the store."""
        running = app.answer(chat, app.say(chat, "Write a very long story."), settings={"max_tokens": 1900, "seed": 1})

        def kept():
            with sqlite3.connect(self.store) as store:
                return store.execute("SELECT content FROM app_messages WHERE id = ?", (running["id"],)).fetchone()[0]
        wait_until(kept, "a text in the store")
        return running, kept()

    def test_an_answer_survives_the_servers_death(self):
        chat = self.app.new_chat(title="death")
        running, kept = self.begun(self.app, chat)
        self.app.process.kill()
        self.app.process.wait()
        app = type(self).app = self.start()
        message = app.call("GET", f"chats/{chat['id']}")["messages"][-1]
        self.assertEqual((message["id"], message["status"]), (running["id"], "stopped"))
        self.assertTrue(message["content"].startswith(kept))
        self.assertEqual(app.whole(running)[1], message["content"])
        # An end in order loses nothing: the pages hear of it, and the store has all they heard.
        running, _ = self.begun(app, chat)
        with app.watch(running) as events, app.follow("events") as changes:
            next(events), next(changes)
            app.terminate()
            last = gathered(events)[2]
            list(changes)
        self.assertEqual(app.exit_code(), 0)
        self.assertEqual(last["status"], "stopped")
        app = type(self).app = self.start()
        self.assertEqual(app.call("GET", f"chats/{chat['id']}")["messages"][-1], last)


if __name__ == "__main__":
    _fathom.harness.main()

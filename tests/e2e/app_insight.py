#!/usr/bin/env python3
"""How the app's answers came to be: their tokens with probabilities, their energy, how far a prompt is read, and that
files from elsewhere cannot bring numbers that are none."""
import contextlib
import json
import math
import os
import sqlite3

import _fathom
from _app import API, THINKING, AppTest, gathered

THINKS, FORCED, CONTROL = 1, 2, 4


def text_of(table, number):
    text = table["texts"][number]
    return text.encode() if isinstance(text, str) else bytes(text)


def said(table, *, thinking):
    """The text of the tokens of thinking, or of the answer."""
    return b"".join(text_of(table, t[1]) for t in table["tokens"]
                    if bool(t[0] & THINKS) == thinking and not t[0] & CONTROL).decode()


class Insight(AppTest):
    def tokens(self, message, **more):
        return self.app.call("GET", f"messages/{message['id']}/tokens", **more)

    def test_tokens_are_those_of_the_api(self):
        settings = {"seed": 11, "temperature": 1.1, "max_tokens": 40}
        chat = self.app.new_chat(settings=settings)
        question = self.app.say(chat, "Tell me about a river.")
        answer = self.app.finished(chat, question)
        table = self.tokens(answer)
        self.assertEqual(table["total"], len(table["tokens"]))
        self.assertEqual(table["total"], answer["info"]["completion_tokens"])
        self.assertEqual(said(table, thinking=False), answer["content"])
        same = self.app.post("/v1/chat/completions", messages=[{"role": "user", "content": question["content"]}],
                             logprobs=True, top_logprobs=5, **settings).json()["choices"][0]
        wanted = same["logprobs"]["content"]
        self.assertEqual(same["message"]["content"], answer["content"])
        for token, want in zip(table["tokens"], wanted):
            self.assertEqual(text_of(table, token[1]), bytes(want["bytes"]))
            self.assertAlmostEqual(token[2], want["logprob"], delta=0.00051)
            others = [o for o in want["top_logprobs"] if o["logprob"] >= math.log(1e-4)]
            self.assertEqual([text_of(table, n) for n in token[3::2]], [bytes(o["bytes"]) for o in others])
            for logprob, other in zip(token[4::2], others):
                self.assertAlmostEqual(logprob, other["logprob"], delta=0.00051)
        self.assertGreater(len(wanted), 3)
        self.assertLess(len(json.dumps(table)), 250 * table["total"] + 200)

    def test_messages_without_tokens_have_none(self):
        none = {"total": 0, "texts": [], "tokens": []}
        chat = self.app.new_chat(settings={"seed": 1, "max_tokens": 4})
        question = self.app.say(chat, "Hello")
        self.assertEqual(self.tokens(question), none)
        answer = self.app.finished(chat, question)
        self.assertEqual(self.tokens(answer)["total"], 4)
        self.app.call("DELETE", f"messages/{answer['id']}")
        self.tokens(answer, status=404)
        self.tokens({"id": "nobody"}, status=404)
        self.app.call("POST", f"messages/{question['id']}/tokens", {}, status=405)
        with contextlib.closing(sqlite3.connect(self.store)) as store:
            kept = store.execute("SELECT count(*) FROM app_tokens WHERE message = ?", [answer["id"]]).fetchone()
        self.assertEqual(kept, (0,))

    def test_tokens_of_stopped_and_continued_answers(self):
        chat = self.app.new_chat(settings={"seed": 3, "temperature": 0, "max_tokens": 1500})
        question = self.app.say(chat, "Tell me a long story about the sea.")
        running = self.app.answer(chat, question)
        with self.app.watch(running) as events:
            next(events)
            self.assertEqual(self.tokens(running)["total"], 0, "they are kept at the end")
            stopped = self.app.call("POST", f"messages/{running['id']}/stop")
        self.assertEqual(self.tokens(stopped)["total"], stopped["info"]["completion_tokens"])
        on = self.app.finished(chat, question, prefix={"content": "Once upon a time"}, settings={"max_tokens": 6})
        self.assertEqual("Once upon a time" + said(self.tokens(on), thinking=False), on["content"], "a beginning was not drawn")

    def test_energy_is_measured_or_called_an_estimate(self):
        chat = self.app.new_chat(settings={"seed": 1, "max_tokens": 16})
        info = self.app.finished(chat, self.app.say(chat, "Hello"))["info"]
        self.assertRegex(info["energy_source"], r"^(counter \(.+\)|model: 10 W per busy core)$")
        self.assertEqual(info["energy_share"], 1, "it was alone")
        self.assertGreaterEqual(info["energy_j"], 0)
        if info["energy_source"].startswith("model"):
            cores = len(os.sched_getaffinity(0))
            self.assertGreater(info["energy_j"], 0)
            self.assertLess(info["energy_j"], 10 * cores * (info["total_ms"] + info["queue_ms"] + 2000) / 1000)

    def test_energy_is_shared_by_tokens(self):
        first, second = (self.app.new_chat(settings={"seed": n, "max_tokens": 1500}) for n in (1, 2))
        running = [self.app.answer(c, self.app.say(c, "Tell me a very long story.")) for c in (first, second)]
        with contextlib.ExitStack() as stack:
            streams = [stack.enter_context(self.app.watch(r)) for r in running]
            for stream in streams:  # both are on their way
                next(stream)
            infos = [self.app.call("POST", f"messages/{r['id']}/stop")["info"] for r in running]
        for info in infos:
            self.assertTrue(0 < info["energy_share"] < 1, infos)

    def test_an_older_store_opens(self):
        store = self.folder / "older.sqlite"
        old_store, self.__class__.store = self.store, store
        try:
            app = self.start()
            chat = app.new_chat(settings={"seed": 1, "max_tokens": 3})
            before = app.finished(chat, app.say(chat, "Hello"))
            app.close()
            with contextlib.closing(sqlite3.connect(store)) as database:  # as it was before there were tokens
                database.execute("DROP TABLE app_tokens")
                database.execute("UPDATE fathom_migrations SET version = 2 WHERE component = 'app'")
                database.commit()
            app = self.start()
        finally:
            self.__class__.store = old_store
        whole = app.call("GET", f"chats/{chat['id']}")
        self.assertEqual(whole["messages"][1], before)
        self.assertEqual(app.call("GET", f"messages/{before['id']}/tokens")["total"], 0)
        after = app.finished(chat, before)
        self.assertEqual(app.call("GET", f"messages/{after['id']}/tokens")["total"], 3)
        app.close()

    def test_a_long_prompt_tells_how_far_it_is(self):
        chat = self.app.new_chat(settings={"seed": 1, "max_tokens": 3})
        question = self.app.say(chat, " ".join(f"{n} apples and {n * 7 % 13} pears." for n in range(150)))
        running = self.app.answer(chat, question)
        with self.app.watch(running) as events:
            seen = list(events)
        kinds = [event["type"] for _, event in seen]
        parts = [event for event in (e for _, e in seen) if event["type"] == "prompt"]
        info = seen[-1][1]["message"]["info"]
        for event in parts:  # a page that comes late is told the last one
            self.assertEqual(event["total"], info["prompt_tokens"] - info["cached_tokens"])
            self.assertTrue(0 < event["done"] < event["total"], event)
        self.assertEqual([e["done"] for e in parts], sorted({e["done"] for e in parts}))
        self.assertEqual(kinds, sorted(kinds, key=["prompt", "thinking", "text", "done"].index))
        self.assertTrue(all((number is None) == (event["type"] == "prompt") for number, event in seen), seen)
        self.assertGreater(info["prompt_tokens"], 1024)
        # What was said is counted by text alone.
        self.assertEqual(seen[-1][0], len(seen[-1][1]["message"]["content"].encode()))

    def test_files_bring_no_numbers_that_are_none(self):
        right = {"prompt_tokens": 5, "completion_tokens": 7, "tokens_per_second": 1.5, "finish_reason": "stop", "seed": 2 ** 53 - 1,
                 "budget_spent": False, "settings": {"temperature": 0.5}, "energy_j": 3, "weights_id": "abc", "queue_ms": 0}
        wrong = {"cached_tokens": "many", "thinking_tokens": -1, "total_ms": [], "model_file": 7, "profile": "x" * 5000,
                 "energy_source": {}, "format": False, "queue_ms": "1", "unheard_of": 1}
        infos = [right, {**right, **wrong}, {"prompt_tokens": None, "settings": {"temperature": "hot"}}, None, [], "x",
                 {"prompt_tokens": 1e300, "seed": 1.5, "total_ms": -1}]
        messages = [{"id": "u", "role": "user", "content": "Hi"}]
        messages += [{"id": str(i), "parent": "u", "role": "assistant", "content": str(i), "info": info} for i, info in enumerate(infos)]
        file = {"format": "fathom.chats", "version": 1, "chats": [{"title": "numbers", "messages": messages}]}
        self.assertEqual(self.app.call("POST", "import", file), {"chats": 1, "left_out": 9 + 1 + 2 + 3})
        chat = next(c for c in self.app.call("GET", "chats")["chats"] if c["title"] == "numbers")
        kept = {m["content"]: m.get("info") for m in self.app.call("GET", f"chats/{chat['id']}")["messages"]}
        del right["queue_ms"]
        self.assertEqual(kept, {"Hi": None, "0": {**right, "queue_ms": 0}, "1": right, **dict.fromkeys("23456")})

    def test_all_chats_are_exported_one_by_one(self):
        for i in range(30):
            self.app.say(self.app.new_chat(title=f"export {i}"), f"{i} " * 30_000)
        reply = self.app.request("GET", f"{API}/export?format=json")
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "application/json"))
        self.assertIn("attachment", reply.headers["content-disposition"])
        self.assertNotIn("content-length", reply.headers)
        file = reply.json()
        self.assertEqual((file["format"], file["version"]), ("fathom.chats", 1))
        self.assertEqual([c["title"] for c in file["chats"] if c["title"].startswith("export ")], [f"export {i}" for i in range(30)])
        self.assertEqual(len(file["chats"]), self.app.call("GET", "state")["counts"]["chats"])


class Thinking(AppTest):
    template = THINKING

    def test_tokens_of_thinking_and_what_the_budget_sets(self):
        chat = self.app.new_chat(settings={"seed": 4, "budget": 12, "max_tokens": 40})
        answer = self.app.finished(chat, self.app.say(chat, "What is 2+2?"))
        table = self.app.call("GET", f"messages/{answer['id']}/tokens")
        self.assertTrue(answer["info"]["budget_spent"])
        self.assertEqual(said(table, thinking=False).strip(), answer["content"].strip())
        self.assertTrue(said(table, thinking=True).lstrip().startswith(answer["thinking"].rstrip()), (answer["thinking"], table))
        bits = [t[0] for t in table["tokens"]]
        forced = b"".join(text_of(table, t[1]) for t in table["tokens"] if t[0] & FORCED).decode()
        self.assertEqual(forced, "\n</think>\n\n")
        self.assertGreaterEqual(sum(1 for b in bits if b & THINKS), 12)


if __name__ == "__main__":
    _fathom.harness.main()

#!/usr/bin/env python3
"""fathom serve as programs use it: models, chats whole and streamed, what is refused, and how it ends."""
import pathlib
import shutil
import tempfile
import unittest

import _fathom
from _server import Server, raw_post, read_until, wait_until

HELLO = [{"role": "user", "content": "Say hello in one word."}]
CHAT = "/v1/chat/completions"


class Serve(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        model = _fathom.chat_model()
        if not model:
            raise unittest.SkipTest("fathom serve needs a small model that can chat")
        cls.model = model
        cls.server = Server(model, "--ctx", "1024", "--alias", f"mine={model.stem}:plain")
        cls.addClassCleanup(cls.server.close)

    def refused(self, reply, status, param=None, code=None):
        """OpenAI's error object, with all of its four keys."""
        self.assertEqual(reply.status, status, reply.body)
        self.assertEqual(set(reply.error), {"message", "type", "param", "code"})
        self.assertEqual((reply.error["param"], reply.error["code"]), (param, code))
        return reply.error["message"]

    def test_models(self):
        listed = self.server.get("/v1/models").json()
        self.assertEqual(listed["object"], "list")
        names = [entry["id"] for entry in listed["data"]]
        self.assertEqual(names, [self.model.stem, "mine", "deepseek-chat", "deepseek-reasoner"])
        for entry in listed["data"]:
            self.assertEqual((entry["object"], entry["loaded"], entry["max_model_len"]), ("model", True, 1024))
        self.assertEqual(self.server.get(f"/models/{self.model.stem}").json(), listed["data"][0])
        self.refused(self.server.get("/v1/models/other"), 404, code="model_not_found")

    def test_health(self):
        self.assertEqual(self.server.get("/health").json(), {"status": "ok"})
        self.assertEqual(self.server.get("/ready").json(), {"status": "ready"})

    def test_a_chat_is_the_same_whole_and_streamed_and_under_every_path(self):
        asked = {"messages": HELLO, "seed": 5, "max_tokens": 12, "logprobs": True}
        whole = self.server.post(CHAT, **asked)
        self.assertEqual(whole.headers["x-fathom-seed"], "5")
        answer = whole.json()
        self.assertEqual((answer["object"], answer["model"]), ("chat.completion", self.model.stem))
        usage = answer["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + usage["completion_tokens"])
        self.assertEqual(usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"], usage["prompt_tokens"])
        self.assertEqual(len(answer["choices"][0]["logprobs"]["content"]), usage["completion_tokens"])
        for path in (CHAT, "/chat/completions", "/beta/chat/completions", "/beta/v1/chat/completions"):
            chunks = self.server.stream(path, **asked, stream_options={"include_usage": True})
            self.assertEqual(chunks[0]["choices"][0]["delta"]["role"], "assistant")
            self.assertEqual("".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]), whole.text)
            self.assertEqual([c["choices"][0]["finish_reason"] for c in chunks[:-1] if c["choices"][0]["finish_reason"]],
                             [answer["choices"][0]["finish_reason"]])
            self.assertEqual((chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]),
                             ([], usage["completion_tokens"]))
            self.assertEqual({(c["id"], c["created"], c["object"]) for c in chunks},
                             {(chunks[0]["id"], chunks[0]["created"], "chat.completion.chunk")})

    def test_without_a_seed_one_is_drawn_and_told(self):
        first = self.server.chat("Tell me a story.", max_tokens=12, temperature=1.5)
        seed = int(first.headers["x-fathom-seed"])
        self.assertLess(seed, 1 << 53)  # what JavaScript's numbers carry
        again = self.server.chat("Tell me a story.", max_tokens=12, temperature=1.5, seed=seed)
        self.assertEqual((again.text, again.headers["x-fathom-seed"]), (first.text, str(seed)))

    def test_completions(self):
        asked = {"prompt": ["The capital of France is", "One two three"], "seed": 1, "max_tokens": 6, "n": 2}
        whole = self.server.post("/v1/completions", **asked).json()
        self.assertEqual([c["index"] for c in whole["choices"]], [0, 1, 2, 3])
        texts = [""] * 4
        for chunk in self.server.stream("/v1/completions", **asked):
            texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
        self.assertEqual(texts, [c["text"] for c in whole["choices"]])
        echo = self.server.post("/v1/completions", prompt="One two", seed=1, max_tokens=3, echo=True)
        self.assertTrue(echo.text.startswith("One two"))
        self.assertIn("no tokens for filling a gap", self.refused(
            self.server.post("/beta/completions", prompt="a", suffix="b"), 400, "suffix"))

    def test_tokens_and_prompt(self):
        prompt = self.server.post("/apply-template", messages=HELLO).json()["prompt"]
        self.assertTrue(prompt.endswith("<|im_end|>\n<|im_start|>assistant\n"), prompt)
        told = self.server.post("/tokenize", messages=HELLO).json()
        plain = self.server.post("/tokenize", content=prompt, parse_special=True).json()
        self.assertEqual(told, plain)
        self.assertEqual(told["count"], len(told["tokens"]))
        self.assertEqual(told["count"], self.server.post(CHAT, messages=HELLO, max_tokens=1).json()["usage"]["prompt_tokens"])
        self.assertEqual(self.server.post("/detokenize", tokens=told["tokens"]).json()["content"], prompt)

    def test_what_is_no_request(self):
        for body in (b"", b"{", b"[1]", b"null", b'{"messages": [}', b"{'messages': 1}", b"\x00", b'{"messages": 1e}'):
            with self.subTest(body):
                self.assertEqual(self.server.post(CHAT, body).status, 400)
        for param, fields in {"messages": {}, "messages[0].role": {"messages": [{"role": "king", "content": "x"}]},
                              "messages[0].content": {"messages": [{"role": "user"}]},
                              "temperature": {"messages": HELLO, "temperature": "hot"},
                              "top_logprobs": {"messages": HELLO, "top_logprobs": 3},
                              "stream_options": {"messages": HELLO, "stream_options": {"include_usage": True}},
                              "tool_choice": {"messages": HELLO, "tool_choice": "required"}}.items():
            with self.subTest(param):
                self.refused(self.server.post(CHAT, body=fields), 400, param)
        self.refused(self.server.get("/v1/nothing"), 404, code="unknown_path")
        self.refused(self.server.get(CHAT), 405)
        self.assertIn(self.model.stem, self.refused(self.server.post(CHAT, messages=HELLO, model="gpt-9"), 404,
                                                    code="model_not_found"))

    def test_what_is_not_understood_is_named(self):
        reply = self.server.post(CHAT, messages=HELLO, max_tokens=1, frobnicate=1, user="me", metadata={},
                                 stream=False, modalities=["text"])
        self.assertEqual(reply.status, 200)
        self.assertEqual(set(reply.headers["x-fathom-ignored"].split(", ")), {"frobnicate", "modalities"})
        self.assertNotIn("x-fathom-ignored", self.server.post(CHAT, messages=HELLO, max_tokens=1).headers)

    def test_a_prompt_longer_than_the_context_is_refused(self):
        reply = self.server.chat("word " * 2000)
        self.assertIn("1024", self.refused(reply, 400, "messages", "context_length_exceeded"))
        self.refused(self.server.post(CHAT, messages=[{"role": "user", "content": "word " * 2000}], stream=True), 400,
                     "messages", "context_length_exceeded")


class Ends(unittest.TestCase):
    def setUp(self):
        self.model = _fathom.chat_model()
        if not self.model:
            raise unittest.SkipTest("fathom serve needs a small model that can chat")

    def test_sigterm_lets_what_runs_finish(self):
        with Server(self.model, "--ctx", "512") as server, server.connect() as plain:
            body = {"messages": HELLO, "stream": True, "ignore_eos": True, "max_tokens": 120}
            plain.sendall(raw_post(CHAT, body))
            begun = read_until(plain, b'"content":"')
            server.terminate()
            wait_until(lambda: any("finishing what runs" in line for line in server.log), "word of the draining")
            rest = begun if b"[DONE]" in begun else begun + read_until(plain, b"[DONE]")
            self.assertIn(b'"finish_reason":"length"', rest)
            self.assertEqual(server.exit_code(), 0)
            with self.assertRaises(ConnectionError):
                server.connect()

    def test_models_are_loaded_when_they_are_asked_for(self):
        with tempfile.TemporaryDirectory() as folder:
            second = pathlib.Path(folder) / "second.gguf"
            shutil.copy(self.model, second)
            with Server(self.model, second, "--lazy", "--ctx", "512") as server:
                loaded = lambda: {m["id"]: m["loaded"] for m in server.get("/v1/models").json()["data"]}
                self.assertEqual((loaded()[self.model.stem], loaded()["second"]), (False, False))
                alone = server.chat("Count to five.", model="second", seed=1, max_tokens=8)
                self.assertEqual((loaded()[self.model.stem], loaded()["second"]), (False, True))
                self.assertEqual(alone.json()["model"], "second")
                self.assertEqual(server.chat("Count to five.", seed=1, max_tokens=8).text, alone.text)
                self.assertEqual((loaded()[self.model.stem], loaded()["second"]), (True, True))
                # And put into memory, and out of it, at a client's wish.
                done = server.post("/models/unload", model="second")
                self.assertEqual((done.status, done.json()), (200, {"success": True, "model": "second"}))
                self.assertEqual((loaded()[self.model.stem], loaded()["second"]), (True, False))
                self.assertEqual(server.post("/models/unload", model="second").status, 400)
                done = server.post("/models/load", model="second").json()
                self.assertEqual((done["success"], done["max_model_len"], loaded()["second"]), (True, 512, True))
                self.assertGreaterEqual(done["room_for_tokens"], 512)
                done = server.post("/api/generate", model="second", keep_alive=0, stream=False).json()
                self.assertEqual((done["done_reason"], loaded()["second"]), ("unload", False))
                # Beside a prompt the answer comes first.
                done = server.post("/api/generate", model="second", prompt="Hi", keep_alive=0, stream=False,
                                   options={"num_predict": 4}).json()
                self.assertEqual((done["done_reason"], done["eval_count"], loaded()["second"]), ("length", 4, False))
                self.assertEqual(server.post("/models/load", model="third").status, 404)
                self.assertEqual(server.post("/models/reload").error["param"], "model")

    def test_more_requests_than_may_wait(self):
        with Server(self.model, "--ctx", "2048", "--max-requests", "1") as server:
            with server.connect() as plain:
                plain.sendall(raw_post(CHAT, {"messages": HELLO, "stream": True, "ignore_eos": True, "max_tokens": 2000}))
                read_until(plain, b'"content":"')
                busy = server.chat("Hi", max_tokens=1)
                self.assertEqual((busy.status, busy.error["code"]), (429, "rate_limit_exceeded"))
                self.assertEqual(busy.headers["retry-after"], "1")
            # The client is gone in the middle of its stream: its place is free again.
            wait_until(lambda: server.chat("Hi", max_tokens=1).status == 200, "the place of a client that is gone")


if __name__ == "__main__":
    _fathom.harness.main()

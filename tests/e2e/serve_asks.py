#!/usr/bin/env python3
"""What requests may ask for beside an answer: the script it keeps to, and what the model thinks of the prompt."""
import json
import math
import pathlib
import re
import tempfile

import _fathom
from _server import Server, ServerTest

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
CYRILLIC = "[\u0400-\u052f]"
RUSSIAN = "Москва — столица России. Санкт-Петербург — это город в России. Москва — столица"


class Asks(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = Server(cls.model, "--ctx", "2048", "--profile", "exact")
        cls.addClassCleanup(cls.server.close)
        cls.name = cls.server.get("/v1/models").json()["data"][0]["id"]

    def text(self, prompt, **more):
        reply = self.server.post(TEXT, prompt=prompt, **{"max_tokens": 24, "temperature": 0, **more})
        self.assertEqual(reply.status, 200, reply.body)
        return reply.text

    # ---- the language
    def test_an_answer_keeps_to_its_script(self):
        self.assertRegex(self.text(RUSSIAN), CYRILLIC)
        self.assertRegex(self.text(RUSSIAN, language="ru"), CYRILLIC)
        for language in ("en", "latin", "de-DE", "zh"):
            self.assertNotRegex(self.text(RUSSIAN, language=language), CYRILLIC)
        # Hot, so that tokens come which the model hardly expects.
        hot = {"temperature": 3, "top_p": 1, "max_tokens": 200, "ignore_eos": True}
        forbidden = "[\u0370-\u1dff\u2e80-\ud7ff\uf900-\ufaff]".replace("\u0370", "\u0400")
        seeds = range(3)
        self.assertTrue(any(re.search(forbidden, self.text("Hello", seed=s, **hot)) for s in seeds))
        for seed in seeds:
            self.assertNotRegex(self.text("Hello", seed=seed, language="en", **hot), forbidden)

    def test_where_it_would_not_bite_nothing_changes(self):
        asked = {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "temperature": 0, "max_tokens": 40,
                 "logprobs": True}
        free, bound = (self.server.post(CHAT, **asked, **more).json() for more in ({}, {"language": "en"}))
        self.assertEqual(free["choices"], bound["choices"])

    def test_guesses_do_not_change_a_bound_answer(self):
        command = ["run", self.model, "One two three one two three one two three. " + RUSSIAN, "--seed", "3", "--json", "--raw",
                   "--language", "en", "--max-tokens", "40"]
        ids = []
        for speculate in ("auto", "off"):
            code, out, error = _fathom.run(*command, "--speculate", speculate)
            self.assertEqual(code, 0, error)
            ids.append(json.loads(out)["ids"])
        self.assertEqual(*ids)
        code, _, error = _fathom.run("run", self.model, "Hi", "--language", "klingon")
        self.assertEqual(code, 2)
        self.assertIn("--language: expected latin", error)

    def test_beside_a_form(self):
        chosen = self.text("A greeting:", guided_choice=["привет", "hello"], language="en")
        self.assertEqual(chosen, "hello")
        reply = self.server.post(TEXT, prompt="A greeting:", guided_choice=["привет", "мир"], language="en")
        self.assertEqual(reply.status, 400)
        self.assertIn("language", reply.error["message"])
        reply = self.server.post(TEXT, prompt="A", language="klingon")
        self.assertEqual((reply.status, reply.error["param"]), (400, "language"))

    def test_anthropics_and_ollamas_requests_have_it_too(self):
        messages = [{"role": "user", "content": RUSSIAN}]
        options = {"temperature": 3, "top_p": 1, "seed": 1, "num_predict": 60}

        def anthropic(**more):
            reply = self.server.post("/v1/messages", messages=messages, max_tokens=24, temperature=0, **more)
            self.assertEqual(reply.status, 200, reply.body)
            return reply.json()["content"][0]["text"]

        def ollama(**more):
            reply = self.server.post("/api/generate", model=self.name, prompt=RUSSIAN, raw=True, stream=False,
                                     options=options, **more)
            self.assertEqual(reply.status, 200, reply.body)
            return reply.json()["response"]

        for ask in (anthropic, ollama):
            self.assertRegex(ask(), "[^\u0000-\u03ff]")
            self.assertNotRegex(ask(language="en"), CYRILLIC)
        for path, more in (("/v1/messages", {"max_tokens": 1}), ("/api/chat", {"model": self.name})):
            refused = self.server.post(path, messages=messages, language="klingon", **more)
            self.assertEqual(refused.status, 400)
            self.assertIn("language: expected latin", refused.body.decode())

    # ---- the prompt's log-probabilities
    def logits(self, ids):
        """log-softmax of each row, as `fathom logits` has them."""
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "logits.safetensors"
            (pathlib.Path(folder) / "ids.json").write_text(json.dumps([ids]))
            code, _, error = _fathom.run("logits", self.model, "--ids", f"{folder}/ids.json", "--out", out, "--cache-type", "f32")
            self.assertEqual(code, 0, error)
            (_, rows, width), values = _fathom.read_safetensors(out)["logits"]
        for row in range(rows):
            line = values[row * width:(row + 1) * width]
            top = max(line)
            total = top + math.log(sum(math.exp(x - top) for x in line))
            yield [x - total for x in line]

    def test_the_prompt_is_told_as_the_model_sees_it(self):
        prompt = "The capital of France is Paris, and that of Italy"
        whole = self.server.post(TEXT, prompt=prompt, max_tokens=2, temperature=0, prompt_logprobs=3).json()
        told = whole["choices"][0]["prompt_logprobs"]
        ids = self.server.post("/tokenize", content=prompt).json()["tokens"]
        self.assertEqual((len(told), told[0]), (len(ids), None))
        for place, (id, row) in enumerate(zip(ids[1:], self.logits(ids)), 1):
            own = told[place][str(id)]
            self.assertAlmostEqual(own["logprob"], row[id], delta=1e-3)
            self.assertEqual(own["rank"], 1 + sum(x > row[id] for x in row))
            best = sorted(range(len(row)), key=lambda i: -row[i])[:3]
            self.assertEqual([int(i) for i, t in sorted(told[place].items(), key=lambda e: e[1]["rank"]) if t["rank"] <= 3], best)
        # The cache has this text now, and does not hide it; the usage says that nothing came from there.
        again = self.server.post(TEXT, prompt=prompt, max_tokens=2, temperature=0, prompt_logprobs=3).json()
        self.assertEqual(again["choices"], whole["choices"])
        self.assertEqual(again["usage"]["prompt_tokens_details"]["cached_tokens"], 0)

    def test_an_echo_has_them_too(self):
        prompt = "One, two, three, four"
        asked = {"prompt": [prompt, "Rivers"], "max_tokens": 3, "temperature": 0, "n": 2}
        plain = self.server.post(TEXT, **asked, logprobs=2).json()["choices"]
        echo = self.server.post(TEXT, **asked, logprobs=2, echo=True).json()["choices"]
        told = self.server.post(TEXT, **asked, prompt_logprobs=2).json()["choices"]
        for before, after, prompts in zip(plain, echo, told):
            text, lists, n = after["text"], after["logprobs"], len(prompts["prompt_logprobs"])
            self.assertTrue(text.endswith(before["text"]))
            self.assertEqual(lists["token_logprobs"][:1] + lists["top_logprobs"][:1], [None, None])
            for key in ("tokens", "token_logprobs", "top_logprobs"):
                self.assertEqual(lists[key][n:], before["logprobs"][key])
            for place in range(1, n):
                values = {t["logprob"] for t in prompts["prompt_logprobs"][place].values()}
                self.assertIn(lists["token_logprobs"][place], values)
                self.assertLessEqual(set(lists["top_logprobs"][place].values()), values)
            for token, at in zip(lists["tokens"], lists["text_offset"]):
                self.assertEqual(text[at:at + len(token)], token)
        ids = self.server.post("/tokenize", content=prompt).json()["tokens"]
        same = self.server.post(TEXT, prompt=ids, max_tokens=3, temperature=0, echo=True, logprobs=2).json()["choices"][0]
        self.assertEqual((same["text"], same["logprobs"]), (echo[0]["text"], echo[0]["logprobs"]))

    def test_a_prompt_is_scored_without_a_new_token(self):
        asked = {"prompt": "One, two, three, four", "temperature": 0, "echo": True, "logprobs": 2}
        scored, longer = (self.server.post(TEXT, **asked, max_tokens=n).json() for n in (0, 1))
        alone, more = scored["choices"][0], longer["choices"][0]
        self.assertEqual((alone["text"], alone["finish_reason"]), (asked["prompt"], "length"))
        for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            self.assertEqual(alone["logprobs"][key], more["logprobs"][key][:-1])
        self.assertEqual(scored["usage"]["completion_tokens"], 0)
        self.assertEqual(self.server.post(TEXT, prompt="One", max_tokens=0).text, "")
        for echo in (False, True):
            parts = [e["choices"][0] for e in self.server.stream(TEXT, prompt="One", echo=echo, max_tokens=0)]
            self.assertEqual("".join(p["text"] for p in parts), "One" if echo else "")
            self.assertEqual(parts[-1]["finish_reason"], "length")

    def test_a_chat_has_them_and_long_prompts_too(self):
        messages = [{"role": "user", "content": "word " * 900}]
        reply = self.server.post(CHAT, messages=messages, max_tokens=1, prompt_logprobs=0).json()
        self.assertEqual(len(reply["prompt_logprobs"]), reply["usage"]["prompt_tokens"])
        self.assertTrue(all(len(entry) == 1 for entry in reply["prompt_logprobs"][1:]))
        for wrong in ({"stream": True, "prompt_logprobs": 1}, {"prompt_logprobs": 21}, {"prompt_logprobs": -1}):
            refused = self.server.post(CHAT, messages=messages[:1], **wrong)
            self.assertEqual((refused.status, refused.error["param"]), (400, "prompt_logprobs"))

    # ---- what ended an answer
    def test_the_reason_of_a_stop(self):
        asked = {"prompt": "One, two, three, four, five, six,", "temperature": 0, "max_tokens": 12}

        def ends(**more):
            whole = self.server.post(TEXT, **asked, **more).json()["choices"][0]
            last = [e["choices"][0] for e in self.server.stream(TEXT, **asked, **more)][-1]
            self.assertEqual((last["finish_reason"], last["stop_reason"]), (whole["finish_reason"], whole["stop_reason"]))
            return whole

        free = ends()
        self.assertEqual((free["finish_reason"], free["stop_reason"]), ("length", None))
        word = free["text"].split()[1]
        self.assertEqual(ends(stop=["never", word])["stop_reason"], word)
        token = self.server.post("/tokenize", content=free["text"]).json()["tokens"][2]
        stopped = ends(stop_token_ids=[token, 3])
        self.assertEqual((stopped["finish_reason"], stopped["stop_reason"]), ("stop", token))

    # ---- tokens
    def test_tokens_with_their_pieces(self):
        text = "Hello, wörld \U0001f9ff!"
        ids = self.server.post("/tokenize", content=text).json()["tokens"]
        told = self.server.post("/tokenize", content=text, with_pieces=True).json()["tokens"]
        self.assertEqual([t["id"] for t in told], ids)
        pieces = [t["piece"].encode() if isinstance(t["piece"], str) else bytes(t["piece"]) for t in told]
        self.assertEqual(b"".join(pieces), text.encode())
        self.assertTrue(any(isinstance(t["piece"], list) for t in told))  # an emoji is cut

    def test_vllms_looks_at_the_server(self):
        self.assertRegex(self.server.get("/version").json()["version"], r"^\d+\.\d+")
        for method in ("GET", "POST"):
            self.assertEqual(self.server.request(method, "/ping").status, 200)


if __name__ == "__main__":
    _fathom.harness.main()

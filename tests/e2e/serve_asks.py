#!/usr/bin/env python3
"""What requests may ask for beside an answer: the script it keeps to, and what the model thinks of the prompt."""
import json
import math
import pathlib
import re
import tempfile
import unittest

import _fathom
from _server import Server

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
CYRILLIC = "[\u0400-\u052f]"
RUSSIAN = "Москва — столица России. Санкт-Петербург — это город в России. Москва — столица"


class Asks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = _fathom.chat_model()
        if not cls.model:
            raise unittest.SkipTest("needs a small model that can chat")
        cls.server = Server(cls.model, "--ctx", "2048", "--profile", "exact")
        cls.addClassCleanup(cls.server.close)

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

    def test_a_chat_has_them_and_long_prompts_too(self):
        messages = [{"role": "user", "content": "word " * 900}]
        reply = self.server.post(CHAT, messages=messages, max_tokens=1, prompt_logprobs=0).json()
        self.assertEqual(len(reply["prompt_logprobs"]), reply["usage"]["prompt_tokens"])
        self.assertTrue(all(len(entry) == 1 for entry in reply["prompt_logprobs"][1:]))
        for wrong in ({"stream": True, "prompt_logprobs": 1}, {"prompt_logprobs": 21}, {"prompt_logprobs": -1}):
            refused = self.server.post(CHAT, messages=messages[:1], **wrong)
            self.assertEqual((refused.status, refused.error["param"]), (400, "prompt_logprobs"))


if __name__ == "__main__":
    _fathom.harness.main()

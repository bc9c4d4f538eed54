#!/usr/bin/env python3
"""Answers by their ids: picked up again after their reader went, hurried out of their thinking, cancelled."""
import json
import pathlib
import tempfile
import unittest

import _fathom
from _server import Server, raw_post, read_until

CHAT = "/v1/chat/completions"
# Opens a thinking that the small model never closes by itself.
THINKING = ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant: <think>\n{% endif %}{# </think> #}")


def events(body):
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]


class Answers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        model = _fathom.chat_model()
        if not model:
            raise unittest.SkipTest("fathom serve needs a small model that can chat")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        template = pathlib.Path(folder.name) / "thinking.jinja"
        template.write_text(THINKING)
        cls.server = Server(model, "--ctx", "2048", "--seed", "1", "--template", str(template))
        cls.addClassCleanup(cls.server.close)

    def begin(self, socket, **fields):
        """Sends a streaming chat; returns the answer's id once its thinking has begun."""
        socket.sendall(raw_post(CHAT, {"messages": [{"role": "user", "content": "Why is the sky blue?"}], "stream": True,
                                       "seed": 3, "ignore_eos": True, **fields}))
        read = read_until(socket, b'"reasoning_content":"')
        return json.loads(read[read.index(b"data: ") + 6:].split(b"\n")[0])["id"]

    def test_a_kept_answer_goes_on_without_its_reader(self):
        fields = {"max_tokens": 60, "thinking_budget": 20}
        whole = self.server.stream(CHAT, messages=[{"role": "user", "content": "Why is the sky blue?"}], seed=3,
                                   ignore_eos=True, **fields)
        with self.server.connect() as first:
            answer = self.begin(first, keep=True, **fields)
        picked_up = events(self.server.get(f"{CHAT}/{answer}").body)
        self.assertEqual([e["choices"][0]["delta"] for e in picked_up], [e["choices"][0]["delta"] for e in whole])
        self.assertEqual({e["id"] for e in picked_up}, {answer})
        rest = events(self.server.get(f"{CHAT}/{answer}?from=5").body)
        self.assertEqual(rest, picked_up[5:])
        self.assertEqual(self.server.get(f"{CHAT}/chatcmpl-unknown").status, 404)
        self.assertEqual(self.server.get(f"{CHAT}/{answer}?from=-1").status, 400)

    def test_thinking_is_hurried(self):
        with self.server.connect() as reader:
            answer = self.begin(reader, max_tokens=400)
            self.assertEqual(self.server.post(f"{CHAT}/{answer}/answer-now").status, 200)
            rest = read_until(reader, b"data: [DONE]")
        said = "".join(e["choices"][0]["delta"].get("content") or "" for e in events(rest[rest.index(b"data: "):]))
        self.assertTrue(said.strip(), "an answer came")

    def test_an_answer_is_cancelled_by_its_id(self):
        with self.server.connect() as reader:
            answer = self.begin(reader, max_tokens=1900)
            self.assertEqual(self.server.post(f"{CHAT}/{answer}/cancel").status, 200)
            rest = read_until(reader, b"data: [DONE]")
        self.assertIn(b'"finish_reason":"aborted"', rest)
        self.assertEqual(self.server.post(f"{CHAT}/{answer}/cancel").status, 404, "it is over")

    def test_a_stop_string_stays_where_that_is_asked_for(self):
        asked = {"prompt": "One, two, three,", "max_tokens": 30, "temperature": 0, "stop": [","]}
        without = self.server.post("/v1/completions", **asked).text
        self.assertEqual(self.server.post("/v1/completions", **asked, include_stop_str_in_output=True).text, without + ",")


if __name__ == "__main__":
    _fathom.harness.main()

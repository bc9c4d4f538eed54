#!/usr/bin/env python3
"""The curl lines of docs/api.md against a server: each gets the status that its comment says (200 where there is none)
and what the text around it promises."""
import json
import re
import shlex
import shutil
import subprocess
import unittest

import _fathom
from _fathom import ROOT
from _server import Server, events

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def answered(test, reply):
    test.assertEqual({choice["finish_reason"] for choice in reply["choices"]} - {"stop", "length"}, set())
    test.assertGreater(reply["usage"]["completion_tokens"], 0)


def several(test, reply):
    test.assertEqual(len(reply["choices"]), 2)
    test.assertEqual(len(reply["choices"][0]["logprobs"]["reasoning_content"][0]["top_logprobs"]), 3)


def thought(test, reply):
    test.assertTrue(reply["choices"][0]["message"]["reasoning_content"])
    test.assertLessEqual(reply["usage"]["completion_tokens_details"]["reasoning_tokens"], 16)


def did_not_think(test, reply):
    test.assertNotIn("reasoning_content", reply["choices"][0]["message"])


def form(pattern):
    return lambda test, reply: test.assertRegex(reply["choices"][0]["message"]["content"], pattern)


def refused(param, code):
    return lambda test, reply: test.assertEqual((reply["error"]["param"], reply["error"]["code"]), (param, code))


# What a line's reply must be: the first of these whose words stand in the line.
PROMISES = [
    ('"n": 2', several),
    ('"type": "enabled"', thought),
    ('"reasoning_effort": "none"', did_not_think),
    ("json_schema", form(r'^\s*\{\s*"age"\s*:\s*\d{1,2}\s*\}$')),
    ("guided_choice", form("^(good|bad)$")),
    ("guided_regex", form(r"^\d{4}-[01]\d-[0-3]\d$")),
    ('"temperature": 1000', refused("temperature", None)),
    ("gpt-9", refused(None, "model_not_found")),
    ("/files -F", lambda test, reply: test.assertEqual((reply["object"], reply["purpose"]), ("file", "batch"))),
    ("/cancel", lambda test, reply: test.assertIn(reply["status"], ("cancelling", "cancelled", "completed"))),
    ("/batches -d", lambda test, reply: test.assertEqual(reply["status"], "validating")),
    ("/batches/", lambda test, reply: test.assertEqual(reply["object"], "batch")),
    ("/batches", lambda test, reply: test.assertEqual(len(reply["data"]), 1)),
    ("-X DELETE", lambda test, reply: test.assertTrue(reply["deleted"])),
    ("/content", lambda test, reply: test.assertEqual(reply["custom_id"], "a")),
    ("/files/", lambda test, reply: test.assertEqual(reply["filename"], "requests.jsonl")),
    ("/files", lambda test, reply: test.assertTrue(reply["data"])),
    ("/input_items", lambda test, reply: test.assertEqual(reply["data"][0]["content"][0]["text"], "Another one.")),
    ("/responses", lambda test, reply: test.assertEqual(reply["output"][-1]["type"], "message")),
    ("/completions", answered),
    ("/messages/count_tokens", lambda test, reply: test.assertGreater(reply["input_tokens"], 0)),
    ("/messages", lambda test, reply: test.assertEqual((reply["type"], reply["role"]), ("message", "assistant"))),
    ("/api/chat", lambda test, reply: test.assertTrue(reply["done"] and reply["message"]["content"] is not None)),
    ("/api/generate", lambda test, reply: test.assertTrue(reply["done"] and reply["eval_count"])),
    ("/api/embed", lambda test, reply: test.assertEqual(len(reply["embeddings"]), 2)),
    ("/api/tags", lambda test, reply: test.assertTrue(reply["models"][0]["name"])),
    ("/api/ps", lambda test, reply: test.assertTrue(reply["models"])),
    ("/api/version", lambda test, reply: test.assertTrue(reply["version"])),
    ("/embeddings", lambda test, reply: test.assertEqual([len(d["embedding"]) for d in reply["data"]], [64, 64])),
    ("/rerank", lambda test, reply: test.assertEqual(len(reply["results"]), 1)),
    ("/openapi.json", lambda test, reply: test.assertIn("/chat/completions", reply["paths"])),
    ("load -d", lambda test, reply: test.assertEqual((reply["success"], reply["max_model_len"]), (True, 1024))),
    ("/models/", lambda test, reply: test.assertEqual(reply["id"], "deepseek-chat")),
    ("/models", lambda test, reply: test.assertTrue(reply["data"][0]["loaded"])),
    ("/apply-template", lambda test, reply: test.assertIn("Hi<|im_end|>", reply["prompt"])),
    ("/tokenize", lambda test, reply: test.assertEqual(len(reply["tokens"]), reply["count"])),
    ("/detokenize", lambda test, reply: test.assertEqual(reply["content"], "Hello, world")),
    ("/health", lambda test, reply: test.assertEqual(reply["status"], "ok")),
    ("/version", lambda test, reply: test.assertTrue(reply["version"])),
    ("/ready", lambda test, reply: test.assertEqual(reply["status"], "ready")),
]


def lines():
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines()]


class Page(unittest.TestCase):
    made = {}

    def test_every_line_of_api_md_works(self):
        model = _fathom.chat_model()
        if not model:
            raise unittest.SkipTest("docs/api.md needs a small model that can chat")
        if not shutil.which("curl"):
            raise unittest.SkipTest("docs/api.md needs curl")
        # A template that opens the thinking makes a thinker of the small model.
        template = ROOT / "tests" / "clients" / "thinking.jinja"
        with Server(model, "--ctx", "1024", "--seed", "1", "--max-tokens", "60", "--template", template) as server:
            for line in lines():
                with self.subTest(line):
                    for prefix, name in self.made.items():  # an id stands for the last one that was made
                        line = line.replace(f"{prefix}ID", name)
                    self.check(server, line)

    def check(self, server, line):
        status = re.search(r"# (\d+)$", line)
        words = shlex.split(line, comments=True)
        self.assertEqual(words[0], "curl")
        words = [word.replace("localhost:8000", f"localhost:{server.port}") for word in words]
        said = subprocess.run([words[0], "-sS", "--noproxy", "*", "-w", "\n%{http_code}", *words[1:]], capture_output=True,
                              text=True, timeout=240)
        self.assertEqual(said.returncode, 0, said.stderr)
        body, code = said.stdout.rsplit("\n", 1)
        self.assertEqual(code, status[1] if status else "200", body)
        if "-i" in words:
            self.assertIn("X-Fathom-Ignored: web_search_options\n", body.replace("\r", ""))
            body = body.replace("\r", "").split("\n\n", 1)[1]
        if "/metrics" in line:
            self.assertIn("\nvllm:num_requests_waiting{", body)
            return
        if '"stream": true' in line:
            self.assertGreater(events(body.encode())[-1]["usage"]["completion_tokens"], 0)
            return
        reply = json.loads(body)
        if "-d" in words or "-F" in words:
            if made := re.match(r"(resp_|file-|batch_)\w", reply.get("id", "")):
                self.made[made[1]] = reply["id"]
        next(look for words, look in PROMISES if words in line)(self, reply)

    def test_every_path_of_the_table_has_a_line(self):
        table = {path for row in re.findall(r"^\| (`(?:GET|POST) .*?) \|", PAGE, flags=re.M)
                 for path in re.findall(r"`(?:GET|POST) (\S+?)`", row)}
        self.assertGreater(len(table), 8)
        shown = [re.search(r"localhost:8000(\S+)", line)[1] for line in lines()]
        for path in table:
            if "/ID" in path:  # of an answer that runs: tests/e2e/serve_answers.py
                continue
            self.assertTrue([one for one in shown if re.fullmatch(path.replace("NAME", "[^/]+"), one)], path)


if __name__ == "__main__":
    _fathom.harness.main()

#!/usr/bin/env python3
"""What an operator and a program see of `fathom serve` beside chat: metrics and the log of requests."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

import _fathom


class Server:
    """`fathom serve` on a port of the system's choice. What it prints is kept."""

    def __init__(self, model, *arguments):
        self.process = subprocess.Popen(
            [str(_fathom.FATHOM), "serve", str(model), "--port", "0", "--ctx", "512", "--profile", "exact", *map(str, arguments)],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "FATHOM_HOME": _fathom.FATHOM_HOME})
        self.lines = []
        for line in self.process.stderr:
            if found := re.match(r"listening on (http://127\.0\.0\.1:\d+)", line):
                self.url = found[1]
                break
            self.lines.append(line)
        else:
            raise AssertionError("the server did not start:\n" + "".join(self.lines))
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr))
        self.reader.start()

    def close(self):
        """Ends it as an operator does; returns its exit code."""
        self.process.terminate()
        code = self.process.wait(timeout=60)
        self.reader.join()
        self.process.stderr.close()
        return code

    def call(self, path, body=None, headers=None):
        """(status, text) of a GET, or of a POST of `body` as JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def post(self, path, **body):
        """The answer's JSON; a failure fails the test."""
        status, text = self.call(path, body)
        assert status == 200, (status, text)
        return json.loads(text)

    def error(self, path, body):
        status, text = self.call(path, body)
        return status, json.loads(text)["error"]

    def metrics(self):
        """{name with labels: value} of GET /metrics, whose form is checked."""
        status, text = self.call("/metrics")
        assert status == 200
        values, family = {}, None
        for line in text.splitlines():
            if found := re.fullmatch(r"# (HELP|TYPE) (\S+) .+", line):
                family = found[2]
                continue
            name, value = line.rsplit(" ", 1)
            found = re.fullmatch(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})?', name)
            assert found and found[1].startswith(family), line
            assert name not in values, line
            values[name] = float(value)
        return values


def wait(condition, what, seconds=40):
    """Until the condition holds; the limit only ends a test that hangs."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never came: {what}")
        time.sleep(0.02)


class ServeMore(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = _fathom.chat_model()
        if not cls.model:
            raise unittest.SkipTest("needs a small model")
        cls.folder = pathlib.Path(tempfile.mkdtemp(dir=_fathom.FATHOM_HOME))
        cls.log = cls.folder / "access.log"
        cls.server = Server(cls.model, "--access-log", cls.log)
        cls.name = cls.model.stem

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "server"):
            cls.server.close()

    def logged(self, request_id):
        """The log's line of a request, once it is there: it is written when the last who answers lets the request go."""
        found = []

        def there():
            found[:] = [e for e in map(json.loads, self.log.read_text().splitlines()) if e["id"] == request_id]
            return found

        wait(there, f"a line of request {request_id}")
        return found[0]

    def chat(self, content="Say hello.", headers=None, **more):
        return self.server.call("/v1/chat/completions", {"messages": [{"role": "user", "content": content}],
                                                         "max_tokens": 8, "temperature": 0, **more}, headers)

    # ---- metrics
    def test_metrics(self):
        before = self.server.metrics()
        status, text = self.chat("Count to three.", n=2)
        self.assertEqual(status, 200)
        usage = json.loads(text)["usage"]
        status, text = self.server.call("/v1/completions", {"prompt": "One, two,", "max_tokens": 3, "stream": True})
        self.assertEqual(status, 200)
        self.assertEqual(self.server.call("/nothing")[0], 404)
        not_found, label = 'fathom_http_responses_total{code="404"}', f'{{model_name="{self.name}"}}'
        running = "vllm:num_requests_running" + label
        wait(lambda: self.server.metrics()[running] == 0, "an idle server")
        wait(lambda: self.server.metrics().get(not_found, 0) == before.get(not_found, 0) + 1, "an answer with 404")
        after = self.server.metrics()

        def grown(name):
            return after[name] - before.get(name, 0)

        self.assertEqual(grown("vllm:generation_tokens_total" + label), usage["completion_tokens"] + 3)
        prompts = grown("vllm:prompt_tokens_total" + label)
        self.assertGreater(prompts, 2 * usage["prompt_tokens"])
        self.assertEqual(grown("vllm:prefix_cache_queries_total" + label), prompts)
        self.assertLessEqual(grown("vllm:prefix_cache_hits_total" + label), prompts)
        ended = sum(grown(f'vllm:request_success_total{{model_name="{self.name}",finished_reason="{r}"}}')
                    for r in ("stop", "length"))
        self.assertEqual(ended, 3)
        for name in ("time_to_first_token", "e2e_request_latency", "request_queue_time"):
            self.assertEqual(grown(f"vllm:{name}_seconds_count" + label), 3, name)
            self.assertEqual(grown(f'vllm:{name}_seconds_bucket{{model_name="{self.name}",le="+Inf"}}'), 3, name)
        self.assertGreaterEqual(grown("vllm:inter_token_latency_seconds_count" + label), 3)
        for operation, answers in (("chat", 2), ("text_completion", 1)):
            labels = (f'gen_ai_operation_name="{operation}",gen_ai_request_model="{self.name}",'
                      f'gen_ai_response_model="{self.name}"')
            for name in ("request_duration", "time_to_first_token", "time_per_output_token"):
                self.assertEqual(grown(f"gen_ai_server_{name}_seconds_count{{{labels}}}"), answers, name)
            for kind in ("input", "output"):
                self.assertEqual(grown(f'gen_ai_client_token_usage_count{{{labels},gen_ai_token_type="{kind}"}}'), answers)
        self.assertEqual(after["vllm:num_requests_waiting" + label], 0)
        self.assertTrue(0 <= after["vllm:kv_cache_usage_perc" + label] < 1)
        self.assertIn("vllm:num_preemptions_total" + label, after)
        self.assertTrue(any(name.startswith("vllm:cache_config_info{") and 'block_size="64"' in name for name in after))
        self.assertGreaterEqual(grown("fathom_http_requests_total"), 4)
        self.assertGreater(grown("fathom_http_sent_bytes_total"), 0)

    def test_metrics_while_running(self):
        """A running answer is counted as such, and one whose client goes away as aborted."""
        label = f'model_name="{self.name}"'
        aborted = f'vllm:request_success_total{{{label},finished_reason="abort"}}'
        before = self.server.metrics()[aborted]
        body = json.dumps({"prompt": "Once", "max_tokens": 400, "stream": True, "ignore_eos": True}).encode()
        stream = urllib.request.urlopen(urllib.request.Request(self.server.url + "/v1/completions", body, {
            "Content-Type": "application/json", "X-Request-Id": "gone-1"}), timeout=60)
        stream.readline()
        wait(lambda: self.server.metrics()[f"vllm:num_requests_running{{{label}}}"] == 1, "a running answer")
        stream.close()
        wait(lambda: self.server.metrics()[aborted] == before + 1, "an aborted answer")
        entry = self.logged("gone-1")
        self.assertEqual((entry["status"], entry["finish_reason"]), (499, "cancelled"))

    # ---- the log of requests
    def test_access_log(self):
        status, text = self.chat("A secret question.", headers={"X-Request-Id": "log-1"}, max_tokens=4)
        self.assertEqual(status, 200)
        usage = json.loads(text)["usage"]
        entry = self.logged("log-1")
        self.assertEqual({k: entry[k] for k in ("method", "path", "status", "model", "finish_reason", "choices")},
                         {"method": "POST", "path": "/v1/chat/completions", "status": 200, "model": self.name,
                          "finish_reason": "length", "choices": 1})
        self.assertEqual((entry["prompt_tokens"], entry["completion_tokens"], entry["cached_tokens"]),
                         (usage["prompt_tokens"], 4, usage["prompt_cache_hit_tokens"]))
        self.assertTrue(0 <= entry["queue_s"] <= entry["first_token_s"] <= entry["duration_s"], entry)
        self.assertGreater(entry["time"], 1.7e9)
        self.assertEqual(self.server.call("/v1/models", headers={"X-Request-Id": "log-2"})[0], 200)
        self.assertNotIn("model", self.logged("log-2"))
        self.assertEqual(self.server.call("/v1/chat/completions", {}, {"X-Request-Id": "log-3"})[0], 400)
        self.assertEqual(self.logged("log-3")["status"], 400)
        self.assertNotIn("secret", self.log.read_text())

    def test_access_log_on_stderr(self):
        for arguments, lines in (([], 1), (["--access-log", "off"], 0)):
            server = Server(self.model, "--lazy", *arguments)
            server.call("/health", headers={"X-Request-Id": "here-1"})
            self.assertEqual(server.close(), 0)
            self.assertEqual(sum('"id":"here-1"' in line for line in server.lines), lines, server.lines)

    def test_access_log_that_cannot_be(self):
        code, _, error = _fathom.run("serve", self.model, "--port", "0", "--access-log", self.folder / "no" / "file")
        self.assertEqual(code, 1)
        self.assertIn("expected a file to append to, found: No such file", error)


if __name__ == "__main__":
    _fathom.harness.main()

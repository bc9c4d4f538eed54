#!/usr/bin/env python3
"""What an operator and a program see of `fathom serve` beside chat: metrics, the log of requests, embeddings, rerank, and
the description of it all."""
import base64
import json
import math
import os
import pathlib
import re
import struct
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
            [str(_fathom.FATHOM), "serve", str(model), "--port", "0", "--seed", "1", "--ctx", "512", "--profile", "exact", "--store", "none",
             *map(str, arguments)],
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


def length(vector):
    return math.sqrt(sum(x * x for x in vector))


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

    # ---- embeddings
    def embed(self, value, **more):
        return self.server.post("/v1/embeddings", input=value, **more)

    def test_embeddings(self):
        texts = ["The cat sat on the mat.", "A dog", "Rivers of northern Europe " * 40]
        together = self.embed(texts)
        self.assertEqual((together["object"], together["model"]), ("list", self.name))
        self.assertEqual([d["index"] for d in together["data"]], [0, 1, 2])
        tokens = 0
        for text, entry in zip(texts, together["data"]):
            alone = self.embed(text)
            self.assertEqual(alone["data"][0]["embedding"], entry["embedding"], "alone as in company, and the second time")
            self.assertAlmostEqual(length(entry["embedding"]), 1, places=5)
            tokens += alone["usage"]["prompt_tokens"]
        self.assertEqual(together["usage"], {"prompt_tokens": tokens, "total_tokens": tokens})
        ids = self.server.post("/tokenize", content=texts[0], add_special=True)["tokens"]
        self.assertEqual(self.embed(ids)["data"][0]["embedding"], together["data"][0]["embedding"])
        self.assertEqual(self.embed([ids, ids])["data"][1]["embedding"], together["data"][0]["embedding"])

    def test_embeddings_are_the_hidden_states(self):
        ids = self.server.post("/tokenize", content="Rivers of northern Europe " * 20)["tokens"]
        (self.folder / "ids.json").write_text(json.dumps([ids]))
        out = self.folder / "logits.safetensors"
        code, _, error = _fathom.run("logits", self.model, "--ids", self.folder / "ids.json", "--out", out, "--layers",
                                     "--profile", "exact")
        self.assertEqual(code, 0, error)
        shape, values = _fathom.read_safetensors(out)["final_norm"]
        width = shape[-1]
        rows = [values[i:i + width] for i in range(0, len(values), width)]
        mean = [sum(column) / len(rows) for column in zip(*rows)]
        for pooling, want in (("last", rows[-1]), ("mean", mean)):
            got = self.embed(ids, pooling=pooling)["data"][0]["embedding"]
            for a, b in zip(got, want, strict=True):
                self.assertAlmostEqual(a, b / length(want), places=6)

    def test_embeddings_in_base64(self):
        plain = self.embed("hello")["data"][0]["embedding"]
        text = self.embed("hello", encoding_format="base64")["data"][0]["embedding"]
        data = base64.b64decode(text, validate=True)
        self.assertEqual(list(struct.unpack(f"<{len(data) // 4}f", data)),
                         [struct.unpack("<f", struct.pack("<f", x))[0] for x in plain])

    def test_embeddings_of_fewer_dimensions(self):
        whole = self.embed("hello")["data"][0]["embedding"]
        short = self.embed("hello", dimensions=16)["data"][0]["embedding"]
        self.assertEqual(len(short), 16)
        for a, b in zip(short, whole):
            self.assertAlmostEqual(a, b / length(whole[:16]), places=5)

    def test_many_embeddings(self):
        """More than wait in line at once."""
        data = self.embed([f"{i}" for i in range(150)], encoding_format="base64")["data"]
        self.assertEqual([d["index"] for d in data], list(range(150)))
        self.assertEqual(data[149]["embedding"], self.embed("149", encoding_format="base64")["data"][0]["embedding"])

    def test_embeddings_refused(self):
        for body, param in (({}, "input"), ({"input": ""}, "input"), ({"input": []}, "input"), ({"input": ["a", ""]}, "input[1]"),
                            ({"input": 7}, "input"), ({"input": [1, "a"]}, "input"), ({"input": [1 << 30]}, "input"),
                            ({"input": "word " * 600}, "input"), ({"input": ["a"] * 2049}, "input"),
                            ({"input": "a", "dimensions": 100000}, "dimensions"), ({"input": "a", "dimensions": 0}, "dimensions"),
                            ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
                            ({"input": "a", "pooling": "max"}, "pooling")):
            status, error = self.server.error("/v1/embeddings", body)
            self.assertEqual((status, error["param"]), (400, param), error)
        self.assertEqual(self.server.error("/v1/embeddings", {"input": "a", "model": "none"})[0], 404)

    def test_openai_client(self):
        try:
            import openai
        except ImportError as missing:
            self.skipTest(f"needs the openai package ({missing})")
        client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0)
        got = client.embeddings.create(model=self.name, input=["hello", "world"])  # asks for base64 by itself
        self.assertEqual(len(got.data), 2)
        for a, b in zip(got.data[0].embedding, self.embed("hello")["data"][0]["embedding"], strict=True):
            self.assertAlmostEqual(a, b, places=6)

    # ---- rerank
    def test_rerank(self):
        query = "What is the capital of France?"
        documents = ["Bananas are yellow.", "The capital of France is Paris.", {"text": "Paris is the capital of France."}]
        first = self.server.post("/v1/rerank", query=query, documents=documents)
        results = first["results"]
        self.assertEqual(sorted(r["index"] for r in results), [0, 1, 2])
        scores = [r["relevance_score"] for r in results]
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertTrue(all(0 < s < 1 for s in scores), scores)
        self.assertGreater(max(scores) - min(scores), 1e-4)
        self.assertGreater(first["usage"]["prompt_tokens"], 60)
        self.assertEqual(self.server.post("/rerank", query=query, documents=documents), first, "the same bits again")
        best = self.server.post("/rerank", query=query, documents=documents, top_n=1, return_documents=True)["results"]
        self.assertEqual([r["index"] for r in best], [results[0]["index"]])
        self.assertIn("France" if results[0]["index"] else "Bananas", best[0]["document"]["text"])
        alone = self.server.post("/rerank", query=query, documents=documents[:1])["results"][0]["relevance_score"]
        self.assertEqual(alone, next(r["relevance_score"] for r in results if r["index"] == 0))

    def test_rerank_refused(self):
        for body, param in (({"documents": ["a"]}, "query"), ({"query": "q"}, "documents"), ({"query": "q", "documents": []}, "documents"),
                            ({"query": "q", "documents": [1]}, "documents[0]"),
                            ({"query": "q", "documents": ["a", "word " * 600]}, "documents[1]"),
                            ({"query": "q", "documents": ["a"], "top_n": 0}, "top_n")):
            status, error = self.server.error("/v1/rerank", body)
            self.assertEqual((status, error["param"]), (400, param), error)


class OpenApi(unittest.TestCase):
    """The description is true: what it names is there, and the bounds are kept. No model is needed for that."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(_fathom.GOLDEN / "gguf" / "qwen2.gguf", "--lazy", "--access-log", "off")
        cls.described = json.loads(cls.server.call("/openapi.json")[1])

    @classmethod
    def tearDownClass(cls):
        cls.server.close()

    def schema(self, path):
        return self.described["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]

    def test_routes(self):
        paths = self.described["paths"]
        for path in ("/chat/completions", "/completions", "/responses", "/responses/{id}", "/files", "/batches",
                     "/embeddings", "/rerank", "/models", "/tokenize", "/detokenize", "/apply-template",
                     "/health", "/ready", "/metrics", "/openapi.json"):
            self.assertIn(path, paths)
            for operation in paths[path].values():
                self.assertTrue(operation["summary"], path)
        for server in self.described["servers"]:
            base = server["url"].rstrip("/")
            for path, operations in paths.items():
                for method in operations:
                    said = self.server.call(base + path, None if method == "get" else {})[1]
                    self.assertNotIn('"unknown_path"', said, base + path)

    def test_bounds(self):
        least = {"/chat/completions": {"messages": [{"role": "user", "content": "a"}]}, "/completions": {"prompt": "a"},
                 "/embeddings": {"input": "a"}, "/rerank": {"query": "a", "documents": ["b"]}}
        tried = 0
        for path, body in least.items():
            schema = self.schema(path)
            for name in schema["required"]:
                status, error = self.server.error(path, {})
                self.assertEqual(status, 400)
                self.assertIn(error["param"], schema["required"])
            for name, field in schema["properties"].items():
                kind = field.get("type")
                kind = kind[0] if isinstance(kind, list) else kind  # the other one is null
                wrong = [field["minimum"] - 1] if "minimum" in field else []
                wrong += [field["maximum"] + 1] if "maximum" in field else []
                wrong += [{"string": 1, "number": "x", "integer": "x", "boolean": "x", "array": 1, "object": 1}[kind]] \
                    if kind else []
                for value in wrong:
                    status, error = self.server.error(path, {**body, name: value})
                    self.assertEqual(status, 400, (path, name, value))
                    self.assertTrue(name in (error["param"] or "") or name == "stream_options", (path, name, error))
                    tried += 1
        self.assertGreater(tried, 100)


if __name__ == "__main__":
    _fathom.harness.main()

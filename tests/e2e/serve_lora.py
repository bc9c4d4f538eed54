#!/usr/bin/env python3
"""Adapters over one model in `fathom serve --lora`: each answers as `fathom run --adapter` does, beside the others."""
import concurrent.futures
import json
import pathlib
import random
import struct
import tempfile
import unittest

import _fathom
from _server import Server, wait_until

CHAT = "/v1/chat/completions"
LAYERS, HIDDEN, KV = 30, 576, 192  # SmolLM2-135M


def write_adapter(folder, seed):
    """A random adapter of rank 2 of every fourth layer's q_proj and v_proj, as peft writes it."""
    drawn, header, data = random.Random(seed), {}, b""
    for layer in range(0, LAYERS, 4):
        for name, rows in (("q_proj", HIDDEN), ("v_proj", KV)):
            for part, shape in (("lora_A", [2, HIDDEN]), ("lora_B", [rows, 2])):
                values = struct.pack(f"<{shape[0] * shape[1]}f", *(drawn.gauss(0, 0.12) for _ in range(shape[0] * shape[1])))
                key = f"base_model.model.model.layers.{layer}.self_attn.{name}.{part}.weight"
                header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
                data += values
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    (folder / "adapter_config.json").write_text(json.dumps({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 2, "lora_dropout": 0, "bias": "none",
        "target_modules": ["q_proj", "v_proj"]}))


class ServeLora(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = _fathom.chat_model()
        if not cls.model or "SmolLM2-135M" not in cls.model.name:
            raise unittest.SkipTest("adapters are made for SmolLM2-135M")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.work = pathlib.Path(folder.name)
        for seed, name in enumerate(("red", "blue")):
            write_adapter(cls.work / name, seed)
        cls.server = Server(cls.model, "--ctx", "1024", "--lora", f"red={cls.work / 'red'}",
                            "--lora", f"blue={cls.work / 'blue'}:0.5")
        cls.addClassCleanup(cls.server.close)
        cls.names = [cls.model.stem, "red", "blue"]

    def ask(self, name, **fields):
        return self.server.chat("Count from one to ten.", model=name, seed=3, max_tokens=24, ignore_eos=True, **fields)

    def test_each_answers_as_alone_and_beside_the_others(self):
        want = {}
        for name, adapter in ((self.model.stem, []), ("red", ["--adapter", self.work / "red"])):
            request = {"prompt": "Count from one to ten.", "seed": 3, "max_tokens": 24, "ignore_eos": True}
            code, out, error = _fathom.run("run", self.model, "--jsonl", "--ctx", "1024", *adapter,
                                           stdin=json.dumps(request) + "\n")
            self.assertEqual(code, 0, error)
            want[name] = json.loads(out)["text"]
        alone = {name: self.ask(name).text for name in self.names}
        self.assertEqual(len(set(alone.values())), 3)
        for name, text in want.items():
            self.assertEqual(alone[name], text)
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            names = self.names * 4
            for name, reply in zip(names, pool.map(self.ask, names)):
                self.assertEqual((reply.status, reply.text), (200, alone[name]))

    def test_they_are_models(self):
        listed = {entry["id"]: entry for entry in self.server.get("/v1/models").json()["data"]}
        self.assertEqual([listed[name].get("parent") for name in self.names], [None, self.model.stem, self.model.stem])
        self.assertTrue(all(listed[name]["loaded"] for name in self.names))
        for path in ("/api/tags", "/api/ps"):
            self.assertEqual({m["name"] for m in self.server.get(path).json()["models"]} & set(self.names), set(self.names))
        fingerprints = {self.ask(name).json()["system_fingerprint"] for name in self.names}
        self.assertEqual(len(fingerprints), 3)
        page = lambda: self.server.get("/metrics").body.decode()
        idle = (f'vllm:lora_requests_info{{model_name="{self.model.stem}",running_lora_adapters="",'
                'waiting_lora_adapters="",max_lora="2"} 1')
        wait_until(lambda: idle in page(), "no adapter at work")
        self.assertIn('vllm:generation_tokens_total{model_name="red"}', page())

    def test_no_page_is_shared(self):
        hits = lambda name: self.ask(name, cache_salt="pages").json()["usage"]["prompt_cache_hit_tokens"]
        self.assertEqual([hits(name) for name in self.names], [0, 0, 0])
        self.assertTrue(all(hits(name) > 0 for name in self.names))

    def test_reloaded(self):
        want = [self.ask(name).text for name in self.names]
        for name in ("red", self.model.stem):
            self.assertEqual(self.server.post("/models/reload", model=name).status, 200)
            self.assertEqual([self.ask(name).text for name in self.names], want)

    def test_what_cannot_be(self):
        for flag, words in ((f"red={self.work}", "adapter_config.json"), ("red", "expected NAME=FOLDER"),
                            (f"red={self.work / 'red'}:x", "a number"), (f"{self.model.stem}={self.work / 'red'}", "twice")):
            code, _, error = _fathom.run("serve", self.model, "--port", "0", "--lora", flag)
            self.assertIn(code, (1, 2))
            self.assertIn(words, error)


if __name__ == "__main__":
    _fathom.harness.main()

#!/usr/bin/env python3
"""fathom inspect: what it says of unfinished, strange and hostile models."""
import json
import os
import pathlib
import shutil
import struct
import tempfile
import unittest

import _fathom
from _fathom import GOLDEN, run
from _fathom import inspected as report
from _made_models import gguf, safetensors_header, text

MODELS, GGUF = GOLDEN / "models", GOLDEN / "gguf"


class Unfinished(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_cut_file(self):
        whole = (GGUF / "qwen2.gguf").read_bytes()
        cut = self.folder / "cut.gguf"
        cut.write_bytes(whole[:len(whole) // 2])
        code, out, _ = run("inspect", cut)
        self.assertEqual(code, 1)
        self.assertIn("NOT COMPLETE", out)
        self.assertIn(f"has {len(whole) // 2} of ", out)
        self.assertIn("still downloading, or cut off", " ".join(out.split()))
        self.assertIn("model_type qwen2", out)
        got = report(cut, code=1)
        self.assertEqual((got["complete"], got["runnable"], got["files"][0]["state"]), (False, False, "unfinished"))

    def test_missing_parts(self):
        for part in sorted((GGUF / "split").glob("*.gguf"))[::2]:
            shutil.copy(part, self.folder)
        self.assertEqual(report(self.folder, code=1)["container"], "GGUF v3")  # the folder's only model
        code, out, _ = run("inspect", next(self.folder.glob("*-00003-of-00003.gguf")))
        self.assertEqual(code, 1)
        self.assertIn("v3.Q4_K_M-00002-of-00003.gguf  missing", out)
        self.assertIn("2 of 3 files,", out)
        self.assertIn("as the configuration implies", out)
        self.assertEqual(report(GGUF / "split" / "v3.Q4_K_M-00002-of-00003.gguf")["parameters"],
                         report(GGUF / "v3.Q4_K_M.gguf")["parameters"])

    def test_missing_shards(self):
        shutil.copy(MODELS / "v3" / "config.json", self.folder)
        header, start = safetensors_header(MODELS / "v3" / "model.safetensors")
        shutil.copy(MODELS / "v3" / "model.safetensors", self.folder / "model-00001-of-00003.safetensors")
        index = {"metadata": {"total_size": 10**9}, "weight_map": {n: "model-00001-of-00003.safetensors" for n in header}}
        index["weight_map"] |= {"x": "model-00002-of-00003.safetensors", "y": "model-00003-of-00003.safetensors"}
        (self.folder / "model.safetensors.index.json").write_text(json.dumps(index))
        (self.folder / "model-00003-of-00003.safetensors.part").write_bytes(b"")
        got = report(self.folder, code=1)
        self.assertEqual([f["state"] for f in got["files"]], ["whole", "missing", "missing"])
        self.assertIn("shard 2 of 3 is missing", got["files"][1]["problem"])
        self.assertIn("still downloading", got["files"][2]["problem"])
        self.assertEqual((got["absent_tensors"], got["memory"]["weights"], got["memory"]["weights_source"]),
                         (2, 10**9, "index"))
        self.assertEqual(got["parameters"]["here"]["total"], got["parameters"]["total"])

    def test_names_of_unfinished_files(self):
        (self.folder / "a.gguf.part").write_bytes((GGUF / "qwen2.gguf").read_bytes()[:30])
        for model, word in ((self.folder / "a.gguf", "still downloading"), (self.folder / "b.gguf", "missing")):
            code, out, error = run("inspect", model)
            self.assertEqual((code, out), (1, ""))
            self.assertIn(word, error)


class Strange(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, name, data):
        (self.folder / name).write_bytes(data)
        return self.folder / name

    def test_unknown_architecture(self):
        path = self.file("new.gguf", gguf({"general.architecture": "mamba9", "mamba9.block_count": 7,
                                           "mamba9.expert_count": 4, "mamba9.expert_used_count": 1},
                                          [("blk.0.ffn_up_exps.weight", (32, 8, 4), 0, 0), ("b", (4,), 34, 4096)],
                                          b"\0" * 8192))
        got = report(path)
        self.assertEqual((got["complete"], got["runnable"], got["memory"]), (True, False, None))
        self.assertIn("mamba9", got["config_problem"])
        self.assertEqual((got["parameters"]["total"], got["parameters"]["active"]), (32 * 8 * 4 + 4, 32 * 8 + 4))
        self.assertEqual(got["config"]["num_hidden_layers"], 7)
        self.assertIsNone({t["type"]: t for t in got["types"]}["TQ1_0"]["bytes"])

    def test_unknown_folder(self):
        self.file("config.json", json.dumps({"model_type": "new", "architectures": ["NewModel"], "hidden_size": 5,
                                             "num_experts": 8}).encode())
        shutil.copy(MODELS / "qwen2" / "model.safetensors", self.folder)
        got = report(self.folder)
        self.assertEqual((got["architecture"], got["config"]["hidden_size"], got["config"]["n_routed_experts"]),
                         ("NewModel", 5, 8))
        self.assertFalse(got["runnable"])

    def test_importance_matrix(self):
        path = self.file("imatrix.gguf", gguf({"general.type": "imatrix", "imatrix.chunk_count": 12},
                                              [("blk.0.ffn_up.weight.in_sum2", (8, 1), 0, 0)], b"\0" * 32))
        got = report(path)
        self.assertEqual((got["content"], got["metadata"]["imatrix.chunk_count"]), ("imatrix", 12))
        self.assertIn("imatrix.chunk_count", run("inspect", path)[1])

    def test_one_shard_alone(self):
        got = report(MODELS / "qwen2" / "model.safetensors")
        self.assertEqual((got["container"], got["runnable"]), ("safetensors file", False))
        self.assertEqual(got["parameters"]["total"], report(MODELS / "qwen2")["parameters"]["total"])

    def test_nothing_from_a_file_reaches_the_terminal_raw(self):
        path = self.file("evil.gguf", gguf({"general.architecture": "\x1b[2Jx", "general.license": "\x1b]0;t\x07",
                                            "tokenizer.chat_template": "\x1b[31m{{ messages[0].content }}"},
                                           [("w\x1b[1m\u202e", (4,), 0, 0)], b"\0" * 32))
        for arguments in ([], ["--tensors"], ["--render"], ["--keys"], ["--json", "--tensors"]):
            code, out, _ = run("inspect", path, *arguments)
            self.assertEqual(code, 0)
            self.assertNotIn("\x1b", out)
            self.assertNotIn("\u202e", out)
            self.assertNotIn("\x07", out)
        self.assertEqual(report(path, "--tensors")["tensor_table"][0]["name"], "w\x1b[1m\u202e")

    def test_much_of_anything_stays_readable(self):
        words = ["x" * 5000, *(f"<|{i}|>" for i in range(3000))]
        keys = {"general.architecture": "a" * 4000, "general.license": "mit " * 3000, "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": words, "tokenizer.ggml.merges": [],
                "tokenizer.chat_template": "{% for i in range(500) %}" + "y" * 100 + "\n{% endfor %}"}
        keys |= {f"tokenizer.ggml.r{i}_token_id": i for i in range(1000)}
        tensors = [(f"t{i}", (4,), 100 + i, 0) for i in range(1000)]  # a thousand types
        path = self.file("much.gguf", gguf(keys, tensors))
        code, out, error = run("inspect", path)
        self.assertEqual((code, error), (0, ""))
        self.assertLess(len(out.splitlines()), 100)
        self.assertLess(len(out), 10000)
        self.assertIn("and 988 more", out)
        self.assertGreater(len(run("inspect", path, "--render")[1].splitlines()), 500)
        self.assertEqual(len(report(path)["types"]), 1000)

    def test_80_columns(self):
        for model in (GGUF / "v3.Q4_K_M.gguf", MODELS / "v3-fp8", GGUF / "split" / "v3.Q4_K_M-00001-of-00003.gguf"):
            code, out, _ = run("inspect", model.name, cwd=model.parent)
            self.assertEqual(code, 0)
            self.assertEqual([line for line in out.splitlines() if len(line) > 80], [])

    def test_pipes_and_keys_of_other_types_do_not_stop_it(self):
        path = self.file("odd.gguf", gguf({"general.architecture": 7, "general.type": 7, "general.license": 7,
                                           "tokenizer.chat_template": 7}))
        os.mkfifo(self.folder / "README.md")
        got = report(path)
        self.assertEqual((got["architecture"], got["content"], got["runnable"]), ("", "model", False))
        self.assertIn("general.license", got["license"]["problem"])
        self.assertIsNone(report(self.file("plain.gguf", gguf({"general.architecture": "x"})))["license"])
        os.mkfifo(self.folder / "fifo.gguf")
        code, out, error = run("inspect", self.folder / "fifo.gguf")
        self.assertEqual((code, out), (1, ""), error)

    def test_tensor_types_that_are_not_read(self):
        whole = bytearray((GGUF / "qwen2.gguf").read_bytes())
        name = text("output_norm.weight")
        at = whole.index(name) + len(name)
        (dims,) = struct.unpack_from("<I", whole, at)
        struct.pack_into("<I", whole, at + 4 + 8 * dims, 34)
        got = report(self.file("foreign.gguf", bytes(whole)))
        self.assertTrue(got["complete"])
        self.assertEqual((got["runnable"], got["run_problem"]),
                         (False, "tensors have types that are not read here: TQ1_0"))

    def test_tensors_that_the_configuration_does_not_imply(self):
        folder = self.folder / "m"
        folder.mkdir()
        shutil.copy(MODELS / "qwen2" / "config.json", folder)
        shutil.copy(MODELS / "llama3" / "model.safetensors", folder)
        notes = report(folder)["notes"]
        self.assertEqual(len(notes), 1)
        self.assertRegex(notes[0], r"the configuration implies \d+ parameters, the tensors have \d+")
        self.assertEqual(report(MODELS / "qwen2")["notes"], [])

    def test_templates_that_do_not_end(self):
        endless = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"
        got = report(self.file("t.gguf", gguf({"general.architecture": "x", "tokenizer.chat_template": endless})))
        self.assertIn("render_problem", got["chat_template"])

    def test_hostile_files_are_one_line(self):
        cases = {"empty.gguf": b"", "short.gguf": b"GGUF", "words.gguf": b"hello world, this is no model",
                 "counts.gguf": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
                 "twice.gguf": gguf({"a": 1}, [("t", (4,), 0, 0), ("t", (4,), 0, 32)], b"\0" * 64),
                 "wrap.gguf": gguf({"a": 1}, [("t", (1 << 40, 1 << 40), 0, 0)]),
                 "ends.gguf": gguf({"a": 1}, [("t", (1 << 60,), 0, (1 << 64) - 32)]),
                 "long.safetensors": struct.pack("<Q", 1 << 40) + b"{}",
                 "type.safetensors": struct.pack("<Q", 12) + b'{"w": [1,2]}',
                 "model.bin": b"\x80\x02}q\x00."}
        for name, data in cases.items():
            code, out, error = run("inspect", self.file(name, data))
            self.assertEqual((code, out), (1, ""), name)
            self.assertEqual(error.count("\n"), 1, error)
            self.assertIn(name, error)


if __name__ == "__main__":
    _fathom.harness.main()

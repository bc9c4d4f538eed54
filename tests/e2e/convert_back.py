#!/usr/bin/env python3
"""`fathom convert` from GGUF to a Hugging Face folder, and from a folder to one of another type: what is printed, exit
codes, and Ctrl-C."""
import json
import pathlib
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import _fathom
from _fathom import FATHOM, GOLDEN, run
from _model_files import read_folder


class Work(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)

    def convert(self, *arguments):
        code, out, error = run("convert", *arguments)
        self.assertEqual((code, out), (0, ""), error)
        return error


class ToFolder(Work):
    def test_there_and_back(self):
        for name in ("v3", "qwen3-yarn", "llama-tied"):
            source = GOLDEN / "models" / name
            file, folder = self.work / f"{name}.gguf", self.work / name
            self.convert(source, file)
            error = self.convert(file, folder)
            self.assertNotIn("config.json", error)
            self.assertIn(f"wrote {folder}: ", error)
            self.assertEqual(read_folder(source), read_folder(folder), name)
            self.assertEqual((source / "config.json").read_bytes(), (folder / "config.json").read_bytes(), name)

    def test_files_without_our_keys_say_what_is_unknown(self):
        folder = self.work / "a"
        error = self.convert(GOLDEN / "gguf" / "v2.gguf", folder)
        self.assertIn("note: config.json was made from the file's keys, which do not say: initializer_range", error)
        self.assertIn("note: tokenizer.json was made from the file's keys", error)
        self.assertEqual(json.loads((folder / "config.json").read_text())["topk_method"], "group_limited_greedy")
        self.assertEqual(read_folder(GOLDEN / "models" / "v2"), read_folder(folder))

    def test_quantised_files_in_shards_as_json(self):
        folder = self.work / "a"
        code, out, error = run("convert", GOLDEN / "gguf" / "qwen2-wide.Q4_K_M.gguf", folder, "--json",
                               "--max-shard-size", "500KB")
        self.assertEqual((code, error), (0, ""))
        made = json.loads(out)
        self.assertEqual((made["format"], made["version"]), ("fathom.convert", 1))
        self.assertTrue(any("were quantised (Q4_K, Q6_K)" in note for note in made["notes"]), made["notes"])
        self.assertTrue(any("rounded to BF16" in note for note in made["notes"]))
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        self.assertEqual(made["files"], len(set(index["weight_map"].values())))
        self.assertEqual(index["metadata"]["total_size"], made["bytes"])
        self.assertEqual(made["tensors"], len(read_folder(folder)))
        self.assertEqual({kind for kind, _, _ in read_folder(folder).values()}, {"BF16"})

    def test_the_same_model_answers(self):
        ids = self.work / "ids.json"
        ids.write_text(json.dumps([list(range(3, 40))]))
        for name in ("llama3", "qwen3-moe", "v3"):
            self.convert(GOLDEN / "gguf" / f"{name}.gguf", self.work / name)
            outputs = []
            for model in (GOLDEN / "gguf" / f"{name}.gguf", self.work / name):
                logits = self.work / "logits.safetensors"
                code, _, error = run("logits", model, "--ids", ids, "--out", logits)
                self.assertEqual(code, 0, error)
                outputs.append(_fathom.read_safetensors(logits)["logits"][1])
            largest = max(map(abs, outputs[0]))
            self.assertLess(max(abs(a - b) for a, b in zip(*outputs)) / largest, 2e-5, name)

    def test_exit_codes(self):
        source = GOLDEN / "gguf" / "qwen3.gguf"
        for bad in ("q8_0", "fp8"):
            code, _, error = run("convert", source, self.work / "a", "--type", bad)
            self.assertEqual(code, 2)
            self.assertIn("--type: expected auto, f32, f16, bf16 for this conversion", error)
        code, _, error = run("convert", source, self.work / "a", "--max-shard-size", "5XB")
        self.assertEqual(code, 2)
        self.assertIn("--max-shard-size: expected a size such as 5GB", error)
        code, _, error = run("convert", source, self.work / "a.gguf")
        self.assertEqual(code, 2)
        self.assertIn("fathom quantize", error)
        self.assertEqual(run("convert", source, self.work / "no" / "a")[0], 1)
        self.assertEqual(list(self.work.iterdir()), [])
        (self.work / "full").mkdir()
        (self.work / "full" / "mine").write_text("x")
        code, _, error = run("convert", source, self.work / "full")
        self.assertEqual(code, 1)
        self.assertIn("a folder that does not exist yet, or an empty one", error)


class ToType(Work):
    def test_fp8_and_back(self):
        source = GOLDEN / "models" / "v3"
        self.convert(source, self.work / "fp8", "--type", "fp8")
        fp8 = read_folder(self.work / "fp8")
        self.assertEqual(fp8["model.layers.0.self_attn.kv_a_proj_with_mqa.weight"][0], "F8_E4M3")
        self.assertEqual(fp8["model.layers.1.mlp.gate.weight"][0], "BF16")
        self.assertIn("quantization_config", json.loads((self.work / "fp8" / "config.json").read_text()))
        error = self.convert(self.work / "fp8", self.work / "bf16", "--type", "bf16")
        self.assertIn("FP8 matrices were multiplied by their scales", error)
        self.assertEqual(read_folder(self.work / "bf16").keys(), read_folder(source).keys())
        self.assertEqual(json.loads((self.work / "bf16" / "config.json").read_text()),
                         json.loads((source / "config.json").read_text()))

    def test_exit_codes(self):
        code, _, error = run("convert", GOLDEN / "models" / "v3", self.work / "a")
        self.assertEqual(code, 2)
        self.assertIn("needs --type f32, f16, bf16 or fp8", error)
        self.assertEqual(run("convert", GOLDEN / "models" / "v3", self.work / "a", "--type", "q8_0")[0], 2)
        self.assertEqual(list(self.work.iterdir()), [])

    def test_interrupted(self):
        folder = self.work / "model"
        folder.mkdir()
        config = json.loads((GOLDEN / "models" / "llama-tied" / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config))
        shape, size = [1 << 18, 1024], 1 << 30
        header = json.dumps({"model.embed_tokens.weight": {"dtype": "F32", "shape": shape,
                                                           "data_offsets": [0, size]}}).encode()
        with open(folder / "model.safetensors", "wb") as file:  # a gigabyte of zeros that take no room
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + size)
        process = subprocess.Popen([str(FATHOM), "convert", str(folder), str(self.work / "a"), "--type", "bf16"],
                                   stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        while len(list(self.work.iterdir())) == 1 and process.poll() is None:  # until the folder aside is there
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual([path.name for path in self.work.iterdir()], ["model"])


if __name__ == "__main__":
    _fathom.harness.main()

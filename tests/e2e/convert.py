#!/usr/bin/env python3
"""`fathom convert` from a Hugging Face folder to GGUF: the page docs/files.md as a person follows it, and exit codes."""
import json
import math
import pathlib
import re
import shlex
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import _fathom
from _fathom import FATHOM, GOLDEN, ROOT, run

PAGE = ROOT / "docs" / "files.md"
# The page's models, and the golden ones that stand for them here.
STANDINS = {"DeepSeek-R1-Distill-Qwen-1.5B": "qwen2", "DeepSeek-V3": "v3-fp8"}


def commands(heading):
    """The `fathom` lines of the sh blocks below this heading of docs/files.md."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.M)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, flags=re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.startswith("fathom ")]


def copy_model(name, folder):
    folder.mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(GOLDEN / "models" / name / file, folder / file)
    return folder


def metadata(path):
    """The keys of a GGUF file whose values are no arrays."""
    data = path.read_bytes()
    at, keys = 8, {}
    codes = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def take(code):
        nonlocal at
        (value,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return value

    def value(kind):
        nonlocal at
        if kind == 8:
            size = take("Q")
            at += size
            return data[at - size:at].decode()
        if kind == 9:
            element, count = take("I"), take("Q")
            for _ in range(count):
                value(element)
            return None
        return take(codes[kind])

    take("Q")
    for _ in range(take("Q")):
        key = value(8)
        keys[key] = value(take("I"))
    return keys


class Page(unittest.TestCase):
    def test_every_command_of_the_page_works(self):
        lines = commands("From Hugging Face to llama.cpp")
        self.assertGreater(len(lines), 3)
        with tempfile.TemporaryDirectory() as work:
            for name, golden in STANDINS.items():
                copy_model(golden, pathlib.Path(work, name))
            for line in lines:
                words = shlex.split(line, comments=True)
                result = subprocess.run([str(FATHOM), *words[1:]], cwd=work, capture_output=True, text=True, timeout=60)
                self.assertEqual(result.returncode, 0, f"{line}\n{result.stderr}")
                target = pathlib.Path(work, words[3])
                self.assertEqual(target.read_bytes()[:4], b"GGUF", line)


class ToGguf(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)

    def test_json_notes_and_files(self):
        out = self.work / "a.gguf"
        code, text, error = run("convert", GOLDEN / "models" / "v3", out, "--no-mtp", "--json")
        self.assertEqual((code, error), (0, ""))
        made = json.loads(text)
        self.assertEqual((made["format"], made["version"], made["type"]), ("fathom.convert", 1, "BF16"))
        self.assertEqual(made["bytes"], out.stat().st_size)
        self.assertTrue(any("MTP" in note for note in made["notes"]))
        keys = metadata(out)
        self.assertEqual(keys["general.architecture"], "deepseek2")
        self.assertEqual(keys["deepseek2.block_count"], 3)
        self.assertEqual(keys["fathom.hf.config.json"], (GOLDEN / "models" / "v3" / "config.json").read_text())
        code, text, error = run("convert", GOLDEN / "models" / "v3", out, "--no-fathom-keys")
        self.assertEqual((code, text), (0, ""))
        self.assertIn("note: the folder has no tokenizer", error)
        self.assertIn(f"wrote {out}: ", error)
        self.assertEqual(metadata(out)["deepseek2.block_count"], 4)
        self.assertFalse(any(key.startswith("fathom.hf") for key in metadata(out)))

    def test_the_same_model_answers(self):
        ids = self.work / "ids.json"
        ids.write_text(json.dumps([list(range(3, 40))]))
        for name in ("llama3", "qwen3-moe", "v3"):
            outputs = []
            out = self.work / f"{name}.gguf"
            self.assertEqual(run("convert", GOLDEN / "models" / name, out, "--type", "f32")[0], 0)
            for model in (GOLDEN / "models" / name, out):
                logits = self.work / "logits.safetensors"
                code, _, error = run("logits", model, "--ids", ids, "--out", logits)
                self.assertEqual(code, 0, error)
                outputs.append(_fathom.read_safetensors(logits)["logits"])
            largest = max(map(abs, outputs[0][1]))
            self.assertLess(max(abs(a - b) for a, b in zip(outputs[0][1], outputs[1][1])) / largest, 2e-5, name)

    def test_exit_codes(self):
        out = self.work / "a.gguf"
        code, _, error = run("convert", GOLDEN / "models" / "v3", out, "--type", "q4_k")
        self.assertEqual(code, 2)
        self.assertIn("--type: expected auto, f32, f16, bf16, q8_0", error)
        self.assertEqual(run("convert", GOLDEN / "models" / "v3")[0], 2)
        code, _, error = run("convert", self.work, out)
        self.assertEqual(code, 1)
        self.assertIn("config.json", error)
        self.assertEqual(run("convert", GOLDEN / "models" / "v3", self.work / "no" / "a.gguf")[0], 1)
        self.assertEqual(list(self.work.iterdir()), [])

    def test_interrupted(self):
        folder = self.work / "model"
        folder.mkdir()
        config = json.loads((GOLDEN / "models" / "llama-tied" / "config.json").read_text())
        rows, columns = 1 << 18, 1024
        config |= {"vocab_size": rows, "hidden_size": columns, "num_hidden_layers": 1, "num_attention_heads": 8}
        (folder / "config.json").write_text(json.dumps(config))
        layer = "model.layers.0."
        shapes = {"model.embed_tokens.weight": [rows, columns], "model.norm.weight": [columns],
                  layer + "input_layernorm.weight": [columns], layer + "post_attention_layernorm.weight": [columns],
                  layer + "self_attn.o_proj.weight": [columns, columns], layer + "mlp.down_proj.weight": [columns, 256]}
        header, at = {}, 0
        for name, shape in shapes.items():
            size = 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
        header = json.dumps(header).encode()
        with open(folder / "model.safetensors", "wb") as file:  # a gigabyte of zeros that take no room
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + at)
        process = subprocess.Popen([str(FATHOM), "convert", str(folder), str(self.work / "a.gguf"), "--type", "q8_0"],
                                   stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        while len(list(self.work.iterdir())) == 1 and process.poll() is None:  # until the file aside is there
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual([path.name for path in self.work.iterdir()], ["model"])


if __name__ == "__main__":
    _fathom.harness.main()

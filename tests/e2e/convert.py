#!/usr/bin/env python3
"""`fathom convert` from a Hugging Face folder to GGUF: what is printed, exit codes, broken folders, full disks, Ctrl-C."""
import json
import math
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import _fathom
from _fathom import FATHOM, GOLDEN, SmallDisk, run
from _model_files import read_folder, read_gguf, tokenizer_files, write_safetensors


class ToGguf(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)

    def folder_of(self, model, tensors):
        """A copy of the golden folder, with these tensors."""
        folder = self.work / model
        folder.mkdir(exist_ok=True)
        shutil.copy(GOLDEN / "models" / model / "config.json", folder)
        write_safetensors(folder / "model.safetensors", tensors)
        return folder

    def test_json_notes_and_files(self):
        out = self.work / "a.gguf"
        code, text, error = run("convert", GOLDEN / "models" / "v3", out, "--no-mtp", "--json")
        self.assertEqual((code, error), (0, ""))
        made = json.loads(text)
        self.assertEqual((made["format"], made["version"], made["type"]), ("fathom.convert", 1, "BF16"))
        self.assertEqual(made["bytes"], out.stat().st_size)
        self.assertTrue(any("MTP" in note for note in made["notes"]))
        keys = read_gguf(out)[0]
        self.assertEqual(keys["general.architecture"], "deepseek2")
        self.assertEqual(keys["deepseek2.block_count"], 3)
        self.assertEqual(keys["fathom.hf.config.json"], (GOLDEN / "models" / "v3" / "config.json").read_text())
        code, text, error = run("convert", GOLDEN / "models" / "v3", out, "--no-fathom-keys")
        self.assertEqual((code, text), (0, ""))
        self.assertIn("note: the folder has no tokenizer", error)
        self.assertIn(f"wrote {out}: ", error)
        self.assertEqual(read_gguf(out)[0]["deepseek2.block_count"], 4)
        self.assertFalse(any(key.startswith("fathom.hf") for key in read_gguf(out)[0]))

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

    def test_folders_that_lack_tensors(self):
        tensors = read_folder(GOLDEN / "models" / "llama3")
        lost = ["model.layers.1.self_attn.q_proj.weight", "model.layers.2.mlp.up_proj.weight"]
        folder = self.folder_of("llama3", {name: tensor for name, tensor in tensors.items() if name not in lost})
        code, _, error = run("convert", folder, self.work / "a.gguf")
        self.assertEqual((code, error), (1, f"fathom: 2 tensors are missing: {', '.join(lost)}\n"))
        self.assertEqual([path.name for path in self.work.iterdir()], ["llama3"])

    def test_scales_that_are_not_finite(self):
        name = "model.layers.0.self_attn.o_proj.weight_scale_inv"
        for value in (math.nan, math.inf):
            tensors = read_folder(GOLDEN / "models" / "v3-fp8")
            kind, shape, data = tensors[name]
            tensors[name] = (kind, shape, data[:-4] + struct.pack("<f", value))
            folder = self.folder_of("v3-fp8", tensors)
            for target in (["a.gguf"], ["a", "--type", "bf16"]):
                code, _, error = run("convert", folder, self.work / target[0], *target[1:])
                self.assertEqual(code, 1)
                self.assertRegex(error, rf"^fathom: tensor {name}: expected finite scales, found (nan|inf) for the block")
                self.assertEqual([path.name for path in self.work.iterdir()], ["v3-fp8"])

    def test_a_tokenizer_that_contradicts_itself_is_named(self):
        folder = self.folder_of("llama3", read_folder(GOLDEN / "models" / "llama3"))
        tokenizer = json.loads(tokenizer_files()["tokenizer.json"])
        tokenizer["model"]["merges"] = ["a nowhere"]
        file = folder / "tokenizer.json"
        file.write_text(json.dumps(tokenizer))
        code, _, error = run("run", folder, "hi")
        self.assertEqual((code, error), (1, f"fathom: {file}: tokenizer: merge 0: expected tokens of the vocabulary, "
                                            'found "nowhere"\n'))
        tokenizer["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            {"type": "Digits"}, {"type": "ByteLevel", "add_prefix_space": False}]}
        file.write_text(json.dumps(tokenizer))
        code, _, error = run("convert", folder, self.work / "a.gguf")
        self.assertEqual(code, 1)
        self.assertTrue(error.startswith(f"fathom: {file}: pre_tokenizer: GGUF has no name for the steps"), error)

    def test_full_disks(self):
        with SmallDisk(1 << 20) as disk:
            for target in (["a.gguf"], ["a", "--type", "f32"]):
                code, _, error = run("convert", GOLDEN / "models" / "v3", disk / target[0], *target[1:])
                self.assertEqual(code, 3, error)
                self.assertRegex(error, rf"^fathom: {disk / target[0]}: needs \d+ bytes, and the disk has \d+")
                self.assertEqual(list(disk.iterdir()), [])

    def test_limits_of_a_file_s_size(self):
        """The disk has room, and the writing fails later, as on a disk that fills up meanwhile."""
        limit = 1 << 18
        for target in (["a.gguf"], ["a", "--type", "f32"]):
            result = subprocess.run([str(FATHOM), "convert", str(GOLDEN / "models" / "v3"), str(self.work / target[0]),
                                     *target[1:]], capture_output=True, text=True, timeout=60,
                                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertEqual(result.returncode, 3, result.stderr)
            self.assertIn("writing failed: File too large", result.stderr)
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
                  layer + "mlp.gate_proj.weight": [256, columns], layer + "mlp.up_proj.weight": [256, columns],
                  layer + "mlp.down_proj.weight": [columns, 256]}
        heads = {"q": 8, "k": config["num_key_value_heads"], "v": config["num_key_value_heads"]}
        shapes |= {f"{layer}self_attn.{name}_proj.weight": [n * columns // 8, columns] for name, n in heads.items()}
        shapes[layer + "self_attn.o_proj.weight"] = [columns, columns]
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

#!/usr/bin/env python3
"""fathom inspect --diff: two models of one format, of two, and what cannot be compared."""
import json
import pathlib
import shutil
import tempfile
import unittest

import _fathom
from _fathom import GOLDEN, run

MODELS, GGUF = GOLDEN / "models", GOLDEN / "gguf"


def layers_of(model):
    return json.loads(run("inspect", model, "--json")[1])["config"]["num_hidden_layers"]


class Diff(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def diff(self, *arguments, code):
        got, out, error = run("inspect", "--diff", *arguments, "--json")
        self.assertEqual(got, code, error)
        return json.loads(out)

    def test_same(self):
        self.assertTrue(self.diff(GGUF / "v3.gguf", GGUF / "v3.gguf", "--data", code=0)["same"])
        whole, split = GGUF / "v3.Q4_K_M.gguf", GGUF / "split" / "v3.Q4_K_M-00001-of-00003.gguf"
        got = self.diff(whole, split, "--data", code=1)  # the split's own keys, and nothing else
        self.assertEqual({k["key"] for k in got["keys"]["added"]}, {"split.no", "split.count", "split.tensors.count"})
        self.assertEqual((got["keys"]["removed"], got["keys"]["changed"], got["tensors"]),
                         ([], [], {"added": [], "removed": [], "changed": [], "data": []}))

    def test_quantised(self):
        got = self.diff(GGUF / "qwen2-wide.gguf", GGUF / "qwen2-wide.Q8_0.gguf", code=1)
        file_type = [k for k in got["keys"]["changed"] if k["key"] == "general.file_type"]
        self.assertEqual(file_type, [{"key": "general.file_type", "from": 32, "to": 7}])
        self.assertEqual((got["tensors"]["added"], got["tensors"]["removed"]), ([], []))
        self.assertTrue(got["tensors"]["changed"])
        self.assertEqual({t["to"]["type"] for t in got["tensors"]["changed"]}, {"Q8_0"})
        code, out, _ = run("inspect", "--diff", GGUF / "qwen2-wide.gguf", GGUF / "qwen2-wide.Q8_0.gguf")
        self.assertEqual(code, 1)
        self.assertIn("~ general.file_type: 32 -> 7", out)
        self.assertRegex(out, r"~ tensor token_embd.weight: BF16 \[\d+,\d+\] -> Q8_0 ")

    def test_data_alone(self):
        data = bytearray((GGUF / "qwen2.gguf").read_bytes())
        data[-100] ^= 1
        changed = self.folder / "changed.gguf"
        changed.write_bytes(data)
        self.assertTrue(self.diff(GGUF / "qwen2.gguf", changed, code=0)["same"])
        self.assertEqual(len(self.diff(GGUF / "qwen2.gguf", changed, "--data", code=1)["tensors"]["data"]), 1)

    def test_folders_and_formats(self):
        shutil.copytree(MODELS / "llama3", self.folder / "b")
        config = json.loads((self.folder / "b" / "config.json").read_text())
        config["rope_theta"] = 7.5
        del config["vocab_size"]
        (self.folder / "b" / "config.json").chmod(0o644)
        (self.folder / "b" / "config.json").write_text(json.dumps(config))
        got = self.diff(MODELS / "llama3", self.folder / "b", code=1)
        self.assertEqual([k["key"] for k in got["keys"]["changed"]], ["rope_theta"])
        self.assertEqual([k["key"] for k in got["keys"]["removed"]], ["vocab_size"])

    def test_a_folder_and_gguf(self):
        """Their tensors are the same but for types: norms, routers and biases are F32 in GGUF."""
        for name in ("qwen2", "llama3", "llama-tied", "qwen3", "qwen3-moe", "v2", "v2-lite", "v3"):
            code, out, error = run("inspect", "--diff", MODELS / name, GGUF / f"{name}.gguf", "--json")
            got = json.loads(out)
            self.assertEqual((code, error), (0 if got["same"] else 1, ""))
            self.assertIn("formats differ", got["notes"][0])
            # GGUF says llama3's scaling by a tensor, and these files have no MTP modules.
            keys = [k["key"] for d in ("added", "removed") for k in got["keys"][d]
                    if not k["key"].startswith(("config.rope.", "config.num_nextn"))]
            self.assertEqual((keys, got["tensors"]["added"]), ([], []), name)
            mtp = f"blk.{layers_of(MODELS / name)}."
            self.assertEqual([t for t in got["tensors"]["removed"] if not t["name"].startswith(mtp)], [], name)
            for tensor in got["tensors"]["changed"]:
                self.assertEqual(tensor["from"]["shape"], tensor["to"]["shape"], (name, tensor))
                self.assertEqual(tensor["to"]["type"], "F32", (name, tensor))
        other = self.diff(MODELS / "qwen2", GGUF / "llama3.gguf", code=1)["tensors"]
        self.assertTrue(other["removed"])  # biases

    def test_a_folder_and_its_file(self):
        got = self.diff(MODELS / "qwen2", MODELS / "qwen2" / "model.safetensors", "--data", code=0)
        self.assertIn("no configuration", got["notes"][0])
        self.assertEqual(got["tensors"]["data"], [])

    def test_tensors_that_differ_alike_share_a_line(self):
        code, out, _ = run("inspect", "--diff", GGUF / "qwen2-wide.gguf", GGUF / "qwen2-wide.Q8_0.gguf")
        self.assertEqual(code, 1)
        layers = layers_of(GGUF / "qwen2-wide.gguf")
        self.assertRegex(out, rf"~ {layers} tensors blk\.\*\.attn_q\.weight: BF16 \[.*\] -> Q8_0 ")
        self.assertTrue(out.startswith("- "), out)

    def test_trouble(self):
        code, out, error = run("inspect", "--diff", GGUF / "v3.gguf", self.folder / "none.gguf")
        self.assertEqual((code, out), (2, ""), error)
        self.assertEqual(run("inspect")[0], 2)
        self.assertEqual(run("inspect", GGUF / "v3.gguf", "--diff", GGUF / "v3.gguf", GGUF / "v3.gguf")[0], 2)


if __name__ == "__main__":
    _fathom.harness.main()

#!/usr/bin/env python3
"""LoRA adapters at the command line: `--adapter` computes what peft computes, and `convert --adapter` merges it."""
import json
import pathlib
import re
import tempfile
import unittest

import _fathom
from _fathom import GOLDEN, run


class Lora(unittest.TestCase):
    NAME = "llama-tied"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = pathlib.Path(folder.name)
        self.adapter = GOLDEN / "lora" / self.NAME
        golden = _fathom.read_safetensors(self.adapter / "golden.safetensors")
        self.want = golden["logits"][1]
        self.ids = self.work / "ids.json"
        self.ids.write_text(json.dumps([list(golden["input_ids"][1])]))

    def difference(self, model, *arguments):
        """Of the model's logits from peft's, relative to the largest; and what the first line says."""
        out = self.work / "logits.safetensors"
        code, _, error = run("logits", model, "--ids", self.ids, "--out", out, *arguments)
        self.assertEqual(code, 0, error)
        got = _fathom.read_safetensors(out)["logits"][1]
        return max(abs(a - b) for a, b in zip(got, self.want)) / max(map(abs, self.want)), error.splitlines()[0]

    def test_run_time(self):
        model = GOLDEN / "models" / self.NAME
        difference, line = self.difference(model, "--adapter", self.adapter)
        self.assertLess(difference, 1e-4)
        self.assertIn("adapter llama-tied (r 2, 12 matrices)", line)
        difference, line = self.difference(model)
        self.assertGreater(difference, 0.1)
        self.assertNotIn("adapter", line)

    def test_merged(self):
        model, gguf = GOLDEN / "models" / self.NAME, GOLDEN / "gguf" / f"{self.NAME}.gguf"
        for source, out, options in ((model, "f32.gguf", []), (gguf, "again.gguf", []), (model, "folder", ["--type", "f32"]),
                                     (gguf, "back", [])):
            code, _, error = run("convert", source, self.work / out, "--adapter", self.adapter, *options)
            self.assertEqual(code, 0, error)
            self.assertNotIn("quantised", error)
            self.assertLess(self.difference(self.work / out)[0], 1e-4, out)

    def test_merged_into_quantised(self):
        model, q8, again = GOLDEN / "models" / self.NAME, self.work / "q8.gguf", self.work / "again.gguf"
        notes = []
        code, _, error = run("convert", model, q8, "--type", "q8_0", "--adapter", self.adapter)
        self.assertEqual(code, 0, error)
        notes.append(error)
        self.assertEqual(run("convert", model, self.work / "base.gguf", "--type", "q8_0")[0], 0)
        code, _, error = run("convert", self.work / "base.gguf", again, "--adapter", self.adapter)
        self.assertEqual(code, 0, error)
        notes.append(error)
        for note, out in zip(notes, (q8, again)):
            found = re.search(r"note: 12 merged matrices were quantised: RMS error ([0-9.]+)% of the values' RMS", note)
            self.assertTrue(found, note)
            self.assertTrue(0.1 < float(found[1]) < 1, note)
            self.assertLess(self.difference(out)[0], 0.1)

    def test_ours_in_peft(self):
        """An adapter that fathom has trained: peft loads it, and computes the same logits with it."""
        try:
            import peft
            import torch
            import transformers
        except ImportError as missing:
            self.skipTest(f"needs peft, torch and transformers ({missing})")
        (self.work / "pairs.jsonl").write_text(
            "".join(json.dumps({"prompt": "to be", "completion": ", or not" * n}) + "\n" for n in (1, 2)))
        # Of a mixture of experts attention alone: peft takes its gate_proj, up_proj and down_proj for the routed experts'.
        for name, targets in (("llama-tied", ["all-linear"]),
                              ("v3", ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "o_proj"])):
            config = json.loads((GOLDEN / "models" / name / "config.json").read_text())
            for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id"):
                config.pop(key, None)
            (self.work / "config.json").write_text(json.dumps(config))
            base = self.train(f"{name}-base", 'config = "config.json"\ntokenizer = "bytes"', 0, targets)
            adapter = self.train(f"{name}-adapter", f'start = "{base}"', 3, targets)
            model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
            ids = torch.randint(0, 256, (1, 12), generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                plain = model(ids).logits
                self.want = peft.PeftModel.from_pretrained(model, adapter).eval()(ids).logits.flatten().tolist()
            self.ids.write_text(json.dumps(ids.tolist()))
            self.assertLess(self.difference(base, "--adapter", adapter)[0], 1e-4, name)
            self.assertGreater((torch.tensor(self.want) - plain.flatten()).abs().max() / plain.abs().max(), 0.1, name)

    def train(self, name, model, rank, targets):
        """The checkpoint of a short run on pairs.jsonl."""
        recipe = self.work / f"{name}.toml"
        recipe.write_text(f"""
            stage = "sft"
            data = {{train = ["pairs.jsonl"], packing = false}}
            lora = {{rank = {rank}, targets = {json.dumps(targets)}}}
            optimizer.learning_rate = 0.02
            train = {{steps = 6, batch = 2}}
            [model]
            """ + model)
        code, printed, error = run("train", recipe, "--out", self.work / name, "--json")
        self.assertEqual(code, 0, error)
        return json.loads(printed)["checkpoint"]

    def test_errors(self):
        model = GOLDEN / "models" / self.NAME
        code, _, error = run("logits", GOLDEN / "models" / "qwen3", "--ids", self.ids, "--out", self.work / "x",
                             "--adapter", self.adapter)
        self.assertEqual(code, 1)
        self.assertIn("lora_", error)
        code, _, error = run("logits", model, "--ids", self.ids, "--out", self.work / "x", "--adapter", self.work)
        self.assertEqual(code, 1)
        self.assertIn("adapter_config.json", error)
        code, _, error = run("convert", GOLDEN / "gguf" / f"{self.NAME}.gguf", self.work / "x.gguf")
        self.assertEqual(code, 2)
        code, _, error = run("convert", GOLDEN / "models" / "v3", self.work / "x.gguf", "--adapter", self.adapter)
        self.assertEqual(code, 1)
        self.assertIn("expected a matrix of the model, found none of that name", error)


if __name__ == "__main__":
    _fathom.harness.main()

#!/usr/bin/env python3
"""fathom bench: what it prints, synthetic models, exit codes, and what is left of an interrupted run. No speed is judged."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import _fathom
from _fathom import FATHOM, GOLDEN, run

MODEL = GOLDEN / "gguf" / "qwen2-wide.gguf"
SHORT = ("--prompt", 8, "--decode", 3, "--repeat", 2, "--threads", 2)


class Bench(unittest.TestCase):
    def test_json(self):
        code, printed, error = run("bench", MODEL, *SHORT, "--depth", "0,20", "--batch", 2, "--cold-start", 1, "--json",
                                   "--profile", "exact")
        self.assertEqual(code, 0, error)
        out = json.loads(printed)
        self.assertEqual((out["format"], out["version"], out["profile"], out["unit"]), ("fathom.bench", 1, "exact", "f32"))
        self.assertEqual([(r["test"], r["tokens"], r["depth"], r["sequences"]) for r in out["results"]],
                         [("prefill", 8, 0, 1), ("decode", 3, 0, 1), ("decode", 3, 20, 1), ("decode", 3, 0, 2)])
        for result in out["results"]:
            self.assertEqual(len(result["tokens_per_s"]["values"]), 2)
            self.assertEqual(len(result["read_gb_s"]["values"]), 3)
            self.assertGreater(result["bytes_per_token"], 0)
            self.assertIn(result["state"], ("quiet", "shared"))
        self.assertEqual(len(out["first_token"]["first_token_s"]["values"]), 1)
        self.assertGreater(out["peak_memory_bytes"], 0)
        self.assertFalse(out["interrupted"])

    def test_table(self):
        code, printed, error = run("bench", MODEL, *SHORT, "--cold-start", 0, "--batch", 0)
        self.assertEqual(code, 0, error)
        self.assertIn("prefill 8", printed)
        self.assertIn("decode @0", printed)
        self.assertNotIn("first token", printed)
        self.assertIn("decode @0: ", error)

    def test_a_synthetic_model_is_written_once(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        model = folder / "small.gguf"
        flags = ("--synthetic", "smollm2-135m", "--type", "Q4_0", *SHORT, "--cold-start", 0, "--batch", 2)
        code, printed, error = run("bench", model, *flags)
        self.assertEqual(code, 0, error)
        self.assertIn("wrote ", error)
        before = model.stat().st_mtime_ns
        code, printed, error = run("bench", model, *flags)
        self.assertEqual(code, 0, error)
        self.assertNotIn("wrote ", error)
        self.assertEqual(model.stat().st_mtime_ns, before)

    def test_errors(self):
        for flags, expected, message in ((("--synthetic", "gpt-5"), 2, "--synthetic: expected one of"),
                                         (("--ctx", "4"), 2, "--ctx: expected at least"),
                                         (("--depth", "100000000"), 2, ""),
                                         (("--depth", "1000000"), 2, "positions, found"),
                                         (("--repeat", "0"), 2, "")):
            code, printed, error = run("bench", MODEL, *flags)
            self.assertEqual(code, expected, error)
            self.assertIn(message, error)
            self.assertEqual(printed, "")
        self.assertEqual(run("bench", "/nowhere/model.gguf")[0], 1)

    def test_ctrl_c_prints_what_was_measured(self):
        command = [FATHOM, "bench", MODEL, "--prompt", "8,16", "--decode", "2", "--repeat", "1", "--cold-start", "0",
                   "--batch", "0", "--depth", ",".join(["0"] * 1000), "--json"]
        child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=dict(os.environ))
        for line in child.stderr:
            if line.startswith("decode"):
                break
        child.send_signal(signal.SIGINT)
        printed, _ = child.communicate(timeout=120)
        self.assertEqual(child.returncode, 130)
        out = json.loads(printed)
        self.assertTrue(out["interrupted"])
        self.assertEqual([r["tokens"] for r in out["results"][:3]], [8, 16, 2])
        self.assertLess(len(out["results"]), 1002)


if __name__ == "__main__":
    _fathom.harness.main()

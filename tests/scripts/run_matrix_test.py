"""bench/run_matrix.py: what it runs, what it keeps, and its tables, with a program in Fathom's place."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import harness

FAKE = """#!{python}
import json, pathlib, sys
with open({log!r}, "a") as log: log.write(" ".join(sys.argv[1:]) + "\\n")
pathlib.Path(sys.argv[2]).touch()
if "deepseek" in sys.argv[2]: sys.exit(1)
samples = {{"median": 10, "min": 9, "max": 11.5, "values": []}}
ratio = {{"of_medians": 1.25, "min": 1, "max": 2}}
rivals = [{{"command": sys.argv[i + 1], "ratio": ratio}} for i, flag in enumerate(sys.argv) if flag == "--compare"]
print(json.dumps({{"unit": "int8", "first_token": None, "verify": {{"depth": 0, "state": "quiet", "passes": [
    {{"rows": 1, "cost": None}}, {{"rows": 4, "cost": ratio}}]}},
  "results": [{{"test": "decode", "tokens": 64, "depth": 7, "sequences": 16, "tokens_per_s": samples, "share_of_peak": None,
               "share_of_read": 0.5, "state": "quiet", "rivals": rivals}}],
  "transcripts": [{{"file": "a.txt", "tokens_per_pass": 1.5, "tokens_per_s": samples, "tokens_per_s_off": samples,
                   "ratio": ratio, "state": "shared"}}]}}))
"""


class RunMatrix(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log, self.fathom = self.folder / "log", self.folder / "fathom"
        self.log.touch()
        self.fathom.write_text(FAKE.format(python=sys.executable, log=str(self.log)))
        self.fathom.chmod(0o755)

    def matrix(self, *flags):
        """(exit status, tables, runs of Fathom)"""
        before = len(self.log.read_text().splitlines())
        done = subprocess.run([sys.executable, harness.ROOT / "bench" / "run_matrix.py", "--folder", self.folder, "--fathom",
                               self.fathom, "--out", self.folder / "out.json", *flags], capture_output=True, text=True)
        return done.returncode, done.stdout, self.log.read_text().splitlines()[before:]

    def test_runs_once_and_prints_what_is_kept(self):
        rival = ("--rival", "peer=run -m {model}", "--delete", "--pairs", "3")
        status, tables, ran = self.matrix("--only", "smollm2.*Q8_0", *rival)
        self.assertEqual(status, 0)
        self.assertEqual(len(ran), 1)
        self.assertIn("--synthetic smollm2-135m --type Q8_0 --json --repeat 3", ran[0])
        self.assertIn("--compare run -m {model}", ran[0])
        self.assertFalse((self.folder / "smollm2-135m.Q8_0.gguf").exists())
        for row in ("| model | test | tok/s | share | state | / peer |",
                    "| smollm2-135m Q8_0 | decode 16x @7 | 10 (9 to 11.5) | 50% read | quiet | 1.25 (1.00 to 2.00) |",
                    "| smollm2-135m Q8_0 | 4 @0 | 1.25 (1.00 to 2.00) | quiet |",
                    "| smollm2-135m Q8_0 | a.txt | 1.50 | 10 (9 to 11.5) | 10 (9 to 11.5) | 1.25 (1.00 to 2.00) | shared |"):
            self.assertIn(row + "\n", tables)
        self.assertEqual(self.matrix("--only", "smollm2.*Q8_0", *rival), (0, tables, []))

    def test_a_failure_keeps_what_was_done(self):
        status, _, ran = self.matrix("--only", "7b Q4|deepseek")
        self.assertNotEqual(status, 0)
        self.assertEqual(len(ran), 2)
        self.assertEqual(list(json.loads((self.folder / "out.json").read_text())["runs"]), ["r1-distill-qwen-7b Q4_K_M speed"])

    def test_runs_of_the_model_for_all(self):
        _, _, ran = self.matrix("--only", "1.5b Q4", "--tokenizer", "T", "--rival", "a=x", "--batch-rival", "b=y {batch}")
        self.assertEqual(["--compare x" in line for line in ran], [True, False, False, False])
        self.assertEqual(["--compare y {batch}" in line for line in ran], [False, False, True, False])
        self.assertTrue(ran[3].endswith("--tokenizer T"))
        texts = [word for word in ran[3].split() if word.endswith(".txt")]
        self.assertEqual(len(texts), 3)
        for text in texts:
            self.assertTrue(pathlib.Path(text).exists(), text)


if __name__ == "__main__":
    harness.main()

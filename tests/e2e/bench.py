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
from _server import Server

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
        self.assertEqual([p["rows"] for p in out["verify"]["passes"]], [1, 2, 4, 8])
        self.assertEqual(out["transcripts"], [])
        self.assertEqual(len(out["first_token"]["first_token_s"]["values"]), 1)
        self.assertGreater(out["peak_memory_bytes"], 0)
        self.assertFalse(out["interrupted"])

    def test_servers_under_load(self):
        if not (model := _fathom.chat_model()):
            self.skipTest("needs a small model that can chat")
        with Server(model, "--ctx", "1024", "--max-requests", "2") as server:
            load = ("--serve", f"{server.url}/v1", "--serve", server.url, "--requests", 6, "--repeat", 2, "--shared", 40,
                    "--answer", 8)
            code, printed, error = run("bench", *load, "--chats", 2, "--json")
            self.assertEqual(code, 0, error)
            out = json.loads(printed)
            self.assertEqual((out["format"], out["version"], out["interrupted"]), ("fathom.bench-serve", 1, False))
            for one in out["tests"][0]["servers"]:
                self.assertEqual((one["answered"], one["refused"], one["failed"]), (12, 0, 0), one["problem"])
                self.assertEqual(len(one["tokens_per_s"]["values"]), 2)
                self.assertGreater(one["prompt_tokens"], 60)
                self.assertGreater(one["cached_tokens"], 40)
                self.assertLessEqual(one["time_per_token_s"]["p50"], one["time_per_token_s"]["p99"])
            # All at once are more than the server has places for.
            code, printed, error = run("bench", *load, "--rate", 1e6, "--disturb", 50)
            self.assertEqual(code, 0, error)
            self.assertRegex(printed, r": [1-9]\d* answered, [1-9]\d* refused, 0 failed")
            self.assertIn("times as fast as", printed)
        code, _, error = run("bench", *load)
        self.assertEqual(code, 1)
        self.assertIn("expected an OpenAI server", error)
        self.assertEqual(run("bench", MODEL, "--serve", "http://127.0.0.1:1")[0], 2)

    def test_flags_that_would_do_nothing(self):
        for mode, value, flags in (("--serve", "http://127.0.0.1:1", (("--prompt", 8), ("--threads", 1), ("--train", "c.json"))),
                                   ("--train", "c.json", (("--decode", 8), ("--profile", "int8"), ("--quality",)))):
            for flag in flags:
                code, _, error = run("bench", mode, value, *flag)
                self.assertEqual(code, 2)
                self.assertIn(f"{mode} excludes {flag[0]}", error)

    def test_table(self):
        code, printed, error = run("bench", MODEL, *SHORT, "--cold-start", 0, "--batch", 0)
        self.assertEqual(code, 0, error)
        self.assertIn("prefill 8", printed)
        self.assertIn("decode @0", printed)
        self.assertNotIn("first token", printed)
        self.assertIn("decode @0: ", error)

    def test_transcripts(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        again, alphabet = folder / "again.txt", folder / "alphabet.txt"
        again.write_text("the sum of one and two is three, and " * 8)
        alphabet.write_text("abcdefghijklmnopqrstuvwxyz")
        flags = ("--prompt", 0, "--decode", 0, "--cold-start", 0, "--threads", 2, "--repeat")
        code, printed, error = run("bench", "--transcript", again, "--transcript", alphabet, MODEL, *flags, 2, "--json")
        self.assertEqual(code, 0, error)
        out = json.loads(printed)
        self.assertEqual((out["results"], out["verify"]), ([], None))
        repeated, once = out["transcripts"]
        self.assertEqual((repeated["file"], once["file"]), ("again.txt", "alphabet.txt"))
        self.assertEqual(repeated["passes"] + repeated["accepted_tokens"], repeated["tokens"] + 1)
        self.assertGreater(repeated["tokens_per_pass"], 1.5)
        self.assertEqual((once["drafted_tokens"], once["tokens_per_pass"]), (0, 1))
        for text in repeated, once:
            self.assertEqual(len(text["tokens_per_s"]["values"]), 2)
            self.assertAlmostEqual(text["ratio"]["of_medians"],
                                   text["tokens_per_s"]["median"] / text["tokens_per_s_off"]["median"])
        code, printed, error = run("bench", MODEL, *flags, 1, "--verify", "2,5", "--transcript", again)
        self.assertEqual(code, 0, error)
        for part in "over 5: ", "replay again.txt", " tokens per pass; ", f"guessed {repeated['drafted_tokens']}, right ":
            self.assertIn(part, printed)
        alphabet.write_text("a")
        for wrong, expected, message in ((("--tokenizer", MODEL), 2, "--transcript"),
                                         (("--transcript", alphabet), 1, "expected at least three tokens"),
                                         (("--transcript", again, "--ctx", 100), 2, "--ctx: expected at least"),
                                         (("--verify", "1000"), 2, "--verify")):
            code, _, error = run("bench", MODEL, *flags, 1, *wrong)
            self.assertEqual(code, expected, error)
            self.assertIn(message, error)
        if _fathom.chat_model() is None:
            self.skipTest("needs a model with a large vocabulary")
        code, _, error = run("bench", MODEL, *flags, 1, "--transcript", again, "--tokenizer", _fathom.chat_model())
        self.assertEqual(code, 1, error)
        self.assertIn("expected tokens below the model's", error)

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

    def rival(self, lines):
        """A script of the shell, and the file that it may log to."""
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        script, log = folder / "a rival.sh", folder / "log"
        script.write_text(f"LOG='{log}'\n{lines}\n")
        return script, log

    def test_a_rival_is_timed_in_turn(self):
        script, log = self.rival("""echo "$*" >>"$LOG"; echo noise >&2
            echo "[{\\"n_prompt\\": $2, \\"n_gen\\": $3, \\"n_depth\\": $4, \\"avg_ts\\": 0.5}]" """)
        model = script.with_name("it's a model.gguf")
        shutil.copy(MODEL, model)
        one = f"sh '{script}' {{model}} {{prompt}} {{decode}} {{depth}} {{threads}}"
        two = f"echo two {{batch}} >>'{log}'; echo {{batch}} tok/s: 2.5"
        code, printed, error = run("bench", "--compare", one, "--compare", two, model, *SHORT, "--depth", 20, "--batch", 2,
                                   "--cold-start", 0, "--json")
        self.assertEqual(code, 0, error)
        first, second = f"{model} 8 0 0 2", f"{model} 0 3 20 2"
        self.assertEqual(log.read_text().splitlines(), [first, "two 1"] * 2 + [second, "two 1"] * 2 + ["two 2"] * 2)
        results = json.loads(printed)["results"]
        for result in results:
            self.assertEqual([rival["command"] for rival in result["rivals"]], [one, two])
            self.assertEqual(result["rivals"][1]["tokens_per_s"]["values"], [2.5, 2.5])
            self.assertAlmostEqual(result["rivals"][1]["ratio"]["of_medians"], result["tokens_per_s"]["median"] / 2.5)
        self.assertEqual([result["rivals"][0]["tokens_per_s"] and result["rivals"][0]["tokens_per_s"]["median"]
                          for result in results], [0.5, 0.5, None])

    def test_a_rival_that_fails(self):
        script, _ = self.rival("echo cannot load it >&2; [ $1 = 0 ] && exit 3; echo 7")
        flags = (*SHORT, "--cold-start", 0, "--batch", 0, "--json", "--compare")
        code, printed, error = run("bench", MODEL, *flags, f"sh '{script}' {{prompt}}")
        self.assertEqual(code, 1, error)
        self.assertIn("the command ended with exit code 3", error)
        self.assertIn("cannot load it", error)
        out = json.loads(printed)  # the prefill, and our own first decode
        self.assertTrue(out["interrupted"])
        self.assertEqual([len(result["rivals"][0]["tokens_per_s"]["values"]) if result["rivals"][0]["tokens_per_s"] else 0
                          for result in out["results"]], [2, 0])
        code, _, error = run("bench", MODEL, *flags, "echo unknown speed")
        self.assertEqual(code, 1, error)
        self.assertIn("tokens per second, found", error)

    def test_ctrl_c_ends_the_rival_too(self):
        script, log = self.rival('sleep 1000 & echo $! >"$LOG.part"; mv "$LOG.part" "$LOG"; wait')
        child = subprocess.Popen([str(FATHOM), "bench", str(MODEL), *map(str, SHORT), "--cold-start", "0", "--json",
                                  "--compare", f"sh '{script}'"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        while not log.exists():
            self.assertIsNone(child.poll())
        child.send_signal(signal.SIGINT)
        printed, _ = child.communicate(timeout=120)
        self.assertEqual(child.returncode, 130)
        self.assertIsNone(json.loads(printed)["results"][0]["rivals"][0]["ratio"])
        status = pathlib.Path("/proc") / log.read_text().strip() / "status"
        while status.exists() and not {"Z", "X"} & set(status.read_text().split("State:")[1].split()[:1]):
            pass  # its death takes a moment

    def test_quality(self):
        folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        text = folder / "text.txt"
        text.write_text("".join(f"{i} times {i} makes {i * i}.\n" for i in range(100)))
        flags = ("--prompt", 0, "--decode", 0, "--cold-start", 0, "--quality", "--text", text, "--windows", 1)
        model = GOLDEN / "gguf" / "qwen2-wide.Q4_0.gguf"
        code, printed, error = run("bench", model, *flags, "--json", "--profile", "int8")
        self.assertEqual(code, 0, error)
        quality = json.loads(printed)["quality"]
        self.assertEqual((quality["text"], quality["windows"], quality["window"], quality["tokens"]), ("text.txt", 1, 512, 511))
        self.assertGreater(quality["kl"], 0)
        self.assertLess(quality["kl"], 0.01)
        code, printed, error = run("bench", model, *flags, "--profile", "exact")
        self.assertEqual(code, 0, error)
        self.assertIn("KL from exact 0.00e+00", printed)
        self.assertIn("1 window of 512 tokens of text.txt", printed)
        for wrong, expected, message in ((("--quality",), 2, "--quality: expected --text FILE"),
                                         (("--text", text), 2, "--quality"),
                                         (("--quality", "--text", folder / "none.txt"), 1, "none.txt"),
                                         (("--quality", "--text", __file__, "--ctx", 100), 2, "--ctx: expected at least the 512")):
            code, _, error = run("bench", model, *SHORT, "--cold-start", 0, *wrong, env={"FATHOM_SHARED": str(folder)})
            self.assertEqual(code, expected, error)
            self.assertIn(message, error)
        text.write_text("short")
        code, _, error = run("bench", model, *flags)
        self.assertEqual(code, 1, error)
        self.assertIn("expected at least one window of 512 tokens", error)

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

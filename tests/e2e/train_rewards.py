#!/usr/bin/env python3
"""fathom train with answers that earn rewards: rejection sampling, and a reward program of the user's."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import _fathom
from _fathom import FATHOM, ROOT, run

CONFIG = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
          "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "tie_word_embeddings": True}
START = """
stage = "sft"
model = {config = "config.json", tokenizer = "characters"}
data = {task = "larger-digit", context = 16, examples = 64}
optimizer.learning_rate = 1e-2
train = {steps = 30, batch = 8}
"""
# Every answer begins with thinking, as R1's do.
THINKING = ("{% for m in messages %}{% if m.role == 'assistant' %}<think>{{ m.reasoning_content }}</think>"
            "{{ m.content }}{{ eos_token }}{% else %}{{ m.content }}{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}<think>{% endif %}")
# Two for each right letter, and it says what it was told.
PROGRAM = """#!/usr/bin/env python3
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"reward": 2.0 * asked["completion"].endswith(asked["answer"])}), flush=True)
"""


class Rewards(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "config.json").write_text(json.dumps(CONFIG))

    def train(self, recipe, out, *settings):
        """A run of this recipe; its folder, what it printed as JSON, and its messages."""
        (self.folder / "recipe.toml").write_text(recipe)
        flags = [word for setting in settings for word in ("--set", setting)]
        code, printed, error = run("train", self.folder / "recipe.toml", "--out", self.folder / out, "--json", *flags)
        self.assertEqual(code, 0, error)
        return self.folder / out, json.loads(printed), error

    def stopped(self, out, how, *settings):
        """Starts a run of recipe.toml and sends it `how` once it has written a line; then goes on with it."""
        flags = [word for setting in settings for word in ("--set", setting)]
        process = subprocess.Popen([FATHOM, "train", str(self.folder / "recipe.toml"), "--out", str(self.folder / out),
                                    *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        metrics = self.folder / out / "metrics.jsonl"
        while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > 1):
            time.sleep(0.001)
        process.send_signal(how)
        process.wait()
        if how == signal.SIGINT:
            self.assertIn(process.returncode, (0, 130))
        code, _, error = run("train", "--resume", self.folder / out)
        self.assertEqual(code, 0, error)
        return (self.folder / out / "answers.jsonl").read_bytes()

    def test_rejection(self):
        """What is kept is right and new; stops, kills, threads and batches change no byte; sft learns from it."""
        start = self.train(START, "start")[1]["checkpoint"]
        recipe = f"""
            stage = "reject"
            model.start = "{start}"
            reject = {{task = "larger-digit", prompts = 240, samples = 6, max_tokens = 4, keep = 2}}
            train = {{batch = 16}}"""
        folder, printed, _ = self.train(recipe, "whole")
        whole = (folder / "answers.jsonl").read_bytes()
        self.assertEqual(pathlib.Path(printed["answers"]), folder / "answers.jsonl")
        lines = [json.loads(line) for line in whole.splitlines()]
        self.assertGreater(len(lines), 5)
        for line in lines:
            self.assertEqual(line["completion"].strip(), max(line["prompt"].rstrip(">").split(",")))
            self.assertEqual(line["reward"], 1)
        said = [(line["prompt"], line["completion"].strip()) for line in lines]
        self.assertEqual(len(set(said)), len(said))
        summary = json.loads((folder / "summary.json").read_text())
        self.assertEqual((summary["prompts"], summary["answers"], summary["kept"]), (240, 1440, len(lines)))
        self.assertEqual(summary["right"], sum(summary[what] for what in ("kept", "duplicate", "surplus", "easy",
                                                                          "unreadable")))
        self.assertGreater(summary["duplicate"], 0)
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()[1:]]
        self.assertEqual([line["step"] for line in metrics], list(range(16, 241, 16)))
        self.assertNotIn("loss", metrics[-1])
        self.assertAlmostEqual(sum(line["reward"] * 96 for line in metrics), summary["right"], 6)
        for setting in ("train.batch=7", "train.threads=1"):
            self.assertEqual((self.train(recipe, setting, setting)[0] / "answers.jsonl").read_bytes(), whole, setting)
        self.assertNotEqual((self.train(recipe, "seed", "seed=2")[0] / "answers.jsonl").read_bytes(), whole)
        self.assertEqual(self.stopped("killed", signal.SIGKILL, "train.batch=2"), whole)
        self.assertEqual(self.stopped("stopped", signal.SIGINT, "train.batch=2"), whole)
        # Half a line behind the last batch, as a kill may leave it.
        with open(folder / "answers.jsonl", "ab") as file:
            file.write(whole[:11])
        self.assertEqual(run("train", "--resume", folder)[0], 0)
        self.assertEqual((folder / "answers.jsonl").read_bytes(), whole)
        learned = self.train(f"""
            stage = "sft"
            model.start = "{start}"
            data = {{train = ["{folder / 'answers.jsonl'}"], context = 16}}
            train = {{steps = 2, batch = 4}}""", "learned")[1]
        self.assertEqual(learned["step"], 2)

    def test_adapters(self):
        """GRPO of an adapter beside a frozen model, quantised or not, with an average of it: every answer is verified, a
        resumed run has the same bits, and the average answers too."""
        # Rows of 64: what Q8_0 divides.
        (self.folder / "config.json").write_text(json.dumps({**CONFIG, "hidden_size": 64, "intermediate_size": 64}))
        start = self.train(START, "start")[1]["checkpoint"]
        code, _, error = run("convert", start, self.folder / "q8.gguf", "--type", "q8_0")
        self.assertEqual(code, 0, error)
        for base, profile in ((start, "exact"), (self.folder / "q8.gguf", "int8")):
            folder, printed, said = self.train(f"""
                stage = "grpo"
                model.start = "{base}"
                data.context = 16
                lora = {{rank = 2, targets = ["all-linear"]}}
                optimizer = {{learning_rate = 1e-2, ema_decay = 0.5}}
                grpo = {{task = "larger-digit", prompts = 4, group = 4, max_tokens = 4, beta = 0.01, updates = 2}}
                train = {{steps = 6, batch = 16, save_every = 2, keep = 9, sample_every = 3}}""", profile)
            self.assertRegex(said, rf"parameters of an adapter \({profile}\)")
            lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()[1:]]
            self.assertEqual(len(lines), 6)
            self.assertTrue(all(line["verified_tokens"] > 0 for line in lines))
            self.assertGreater(lines[-1]["kl"], 0)
            self.assertIn("validation_reward", lines[-1])
            sample = (folder / "samples" / "step-3.txt").read_text().split("\n--- answer ")
            larger = max(sample[0].removesuffix(">").split(","))
            self.assertEqual(len(sample), 5)
            for i, answer in enumerate(sample[1:]):
                said, text = answer.rstrip("\n").split("\n", 1) if "\n" in answer.rstrip("\n") else (answer.rstrip(), "")
                right = text.removesuffix("<|endoftext|>").strip() == larger
                self.assertRegex(said, rf"^{i + 1} of 4, reward {int(right)}(, cut off)?$")
            last = folder / "checkpoints" / "step-6"
            files = [name + "adapter_model.safetensors" for name in ("", "ema/")]
            whole = [(last / name).read_bytes() for name in files]
            self.assertNotEqual(*whole)
            for step in (4, 6):
                shutil.rmtree(folder / "checkpoints" / f"step-{step}")
            self.assertEqual(run("train", "--resume", folder)[0], 0)
            self.assertEqual([(last / name).read_bytes() for name in files], whole)
            code, _, error = run("run", base, "--adapter", last / "ema", "--raw", "3,7>", "--max-tokens", 3)
            self.assertEqual(code, 0, error)

    def test_samples(self):
        """What an adapter, or a model that learns preferences, makes of a prompt: begun by it, and of the length asked."""
        start = self.train(START, "start")[1]["checkpoint"]
        (self.folder / "pairs.jsonl").write_text('{"prompt": "8,5>", "completion": "8"}\n' * 4)
        (self.folder / "choices.jsonl").write_text('{"prompt": "8,5>", "chosen": "8", "rejected": "5"}\n' * 4)
        for stage, data in (("sft", "pairs.jsonl"), ("dpo", "choices.jsonl")):
            for rank in (0, 2):
                folder = self.train(f"""
                    stage = "{stage}"
                    model.start = "{start}"
                    lora.rank = {rank}
                    data = {{train = ["{data}"], context = 16, packing = false}}
                    train = {{steps = 2, batch = 2, sample_every = 2, sample_tokens = 5}}""", f"{stage}-{rank}")[0]
                self.assertEqual([path.name for path in (folder / "samples").iterdir()], ["step-2.txt"])
                self.assertRegex((folder / "samples" / "step-2.txt").read_text(), r"^8,5>[0-9,>]{0,5}(<\|endoftext\|>)?\n$")

    def test_rejection_refuses(self):
        start = self.train(START, "start", "train.steps=1")[1]["checkpoint"]
        recipe = f"""
            stage = "reject"
            model.start = "{start}"
            data.train = ["problems.jsonl"]
            reject = {{task = "copy", prompts = 3}}"""
        (self.folder / "problems.jsonl").write_text('{"prompt": "3", "answer": "4"}\n')
        for settings, said in (((), "expected at most 32 tokens with its answer"),
                               (("reject.task=", "reject.reward_program=x"), "expected at most the 1 problems of data.train"),
                               (("reject.task=none",), "expected one of addition"),
                               (("lora.rank=2",), "lora.rank: expected 0 for stage reject")):
            (self.folder / "recipe.toml").write_text(recipe)
            flags = [word for setting in settings for word in ("--set", setting)]
            code, _, error = run("train", self.folder / "recipe.toml", "--out", self.folder / "no", *flags)
            shutil.rmtree(self.folder / "no", ignore_errors=True)
            self.assertEqual(code, 1, error)
            self.assertIn(said, error)

    def program(self):
        """A reward program where the sandbox sees it; skips where there is none."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=ROOT / "build"))
        self.addCleanup(shutil.rmtree, folder)
        folder.chmod(0o755)
        path = folder / "reward.py"
        path.write_text(PROGRAM)
        path.chmod(0o755)
        if not shutil.which("bwrap"):
            self.skipTest("needs bubblewrap")
        if subprocess.run(["bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"], capture_output=True).returncode:
            self.skipTest("needs a system that lets bubblewrap work")
        if os.getuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in path.parents):
            self.skipTest("needs a source tree that everybody may read")
        return path

    def test_a_reward_program(self):
        """Files of problems, graded in the sandbox: by GRPO, and by rejection sampling from a model that thinks."""
        program = self.program()
        (self.folder / "pairs.jsonl").write_text(
            "".join(json.dumps({"prompt": f"{c}<think>", "completion": f"is it {c}</think>{c.upper()}"}) + "\n"
                    for c in "abc"))
        start = pathlib.Path(self.train("""
            stage = "sft"
            model = {config = "config.json", tokenizer = "bytes"}
            data = {train = ["pairs.jsonl"], packing = false}
            optimizer.learning_rate = 1e-2
            train = {steps = 240, batch = 3}""", "start")[1]["checkpoint"])
        (start / "chat_template.jinja").write_text(THINKING)
        (self.folder / "problems.jsonl").write_text(
            "".join(json.dumps({"prompt": c, "answer": c.upper()}) + "\n" for c in "abcd"))
        folder = self.train(f"""
            stage = "reject"
            model.start = "{start}"
            data.train = ["problems.jsonl"]
            reject = {{reward_program = "{program}", samples = 8, max_tokens = 24, min_reward = 2, keep = 1}}
            train.batch = 2""", "kept")[0]
        lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        want = [[{"role": "user", "content": c},
                 {"role": "assistant", "content": c.upper(), "reasoning_content": f"is it {c}"}] for c in "abc"]
        self.assertEqual([line["messages"] for line in lines if line["messages"][0]["content"] != "d"], want)
        self.assertEqual({line["reward"] for line in lines}, {2})
        learned = self.train(f"""
            stage = "sft"
            model.start = "{start}"
            data = {{train = ["{folder / 'answers.jsonl'}"], packing = false}}
            train = {{steps = 1, batch = {len(lines)}}}""", "learned")[1]
        self.assertLess(learned["loss"], 0.5, "the model's own words, as it wrote them")
        folder = self.train(f"""
            stage = "grpo"
            model.start = "{start}"
            data.train = ["problems.jsonl"]
            grpo = {{reward_program = "{program}", prompts = 4, group = 4, max_tokens = 24}}
            train = {{steps = 1, batch = 16}}""", "grpo")[0]
        line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
        self.assertTrue(1 < line["reward"] <= 2, line)
        self.assertGreater(line["verified_tokens"], 0)


if __name__ == "__main__":
    _fathom.harness.main()

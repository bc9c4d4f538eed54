#!/usr/bin/env python3
"""fathom train: a run from nothing to a model that answers; kills and resumes with the same bits; what is refused."""
import json
import math
import os
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
from _fathom import FATHOM, run

TEXT = "to be, or not to be, that is the question: " * 60
CONFIG = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
          "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
          "rope_theta": 10000.0, "tie_word_embeddings": True}
V3 = {**CONFIG, "model_type": "deepseek_v3", "num_key_value_heads": 2, "moe_intermediate_size": 16,
      "n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
      "first_k_dense_replace": 1, "norm_topk_prob": True, "routed_scaling_factor": 1.0, "scoring_func": "sigmoid",
      "topk_method": "noaux_tc", "q_lora_rank": None, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
      "qk_rope_head_dim": 8, "v_head_dim": 16, "num_nextn_predict_layers": 1, "tie_word_embeddings": False}
RECIPE = """
stage = "pretrain"
[model]
config = "config.json"
tokenizer = "characters"
[data]
train = ["text.txt"]
validation_fraction = 0.1
context = 16
[optimizer]
learning_rate = 1e-2
warmup_steps = 3
schedule = "cosine"
ema_decay = 0.9
[train]
steps = 24
batch = 4
eval_every = 8
save_every = 6
threads = 2
"""


class Train(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        os.environ["FATHOM_HOME"] = str(self.folder / "home")
        self.addCleanup(os.environ.pop, "FATHOM_HOME")
        (self.folder / "text.txt").write_text(TEXT)
        self.write(CONFIG)

    def write(self, config, recipe=RECIPE):
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.folder / "recipe.toml").write_text(recipe)

    def train(self, out, *flags):
        return run("train", self.folder / "recipe.toml", "--out", self.folder / out, *flags)

    def weights(self, out, step=24):
        return (self.folder / out / "checkpoints" / f"step-{step}" / "model.safetensors").read_bytes()

    def start(self, *arguments):
        return subprocess.Popen([FATHOM, "train", *map(str, arguments)], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def signalled(self, out, how):
        """Starts a long run, sends it `how` when it has a checkpoint, and returns its exit code."""
        process = self.start(self.folder / "recipe.toml", "--out", self.folder / out, "--set", "train.steps=100000",
                             "--set", "optimizer.schedule=constant")
        while process.poll() is None and not list((self.folder / out / "checkpoints").glob("step-*[0-9]")):
            time.sleep(0.002)
        process.send_signal(how)
        process.communicate()
        return process.returncode

    def test_learns_and_answers(self):
        code, printed, error = self.train("run", "--json", "--set", "train.sample_every=12")
        self.assertEqual(code, 0, error)
        self.assertEqual(sorted(path.name for path in (self.folder / "run" / "samples").iterdir()),
                         ["step-12.txt", "step-24.txt"])
        self.assertGreater(len((self.folder / "run" / "samples" / "step-24.txt").read_text()), 8)
        out = json.loads(printed)
        self.assertEqual((out["format"], out["step"], out["stopped"]), ("fathom.train", 24, False))
        lines = [json.loads(line) for line in (self.folder / "run" / "metrics.jsonl").read_text().splitlines()]
        self.assertEqual([line["step"] for line in lines[1:]], list(range(1, 25)))
        self.assertLess(lines[-1]["loss"], 0.7 * lines[1]["loss"])
        self.assertEqual([line["step"] for line in lines[1:] if "validation_loss" in line], [6, 8, 12, 16, 18, 24])
        self.assertIn("Wh", error)
        self.assertIn("free", error)
        self.assertIn("<svg", (self.folder / "run" / "report.html").read_text())
        self.assertTrue((self.folder / "run" / "checkpoints" / "step-24" / "ema" / "model.safetensors").exists())
        code, printed, error = run("run", out["checkpoint"], "--raw", "to be", "--max-tokens", 4, "--temperature", 0)
        self.assertEqual(code, 0, error)
        self.assertTrue(printed.strip(), error)
        code, printed, error = self.train("run")
        self.assertEqual(code, 1, "a run folder is not overwritten")

    def test_same_bits_after_kills(self):
        """Killed right after its start, at a checkpoint, and while it goes on: the same weights in the end."""
        for name, config in (("llama", CONFIG), ("v3", V3)):
            self.write(config)
            self.assertEqual(self.train(f"{name}-whole")[0], 0)
            for there in ("metrics.jsonl", "checkpoints/step-6", "checkpoints/step-12.writing"):
                out = f"{name}-{there.replace('/', '-')}"
                process = self.start(self.folder / "recipe.toml", "--out", self.folder / out)
                while process.poll() is None and not (self.folder / out / there).exists():
                    time.sleep(0.001)
                process.kill()
                process.communicate()
                code, _, error = run("train", "--resume", self.folder / out)
                self.assertEqual(code, 0, error)
                self.assertEqual(self.weights(out), self.weights(f"{name}-whole"), f"{name} killed at {there}")
                steps = [json.loads(line)["step"] for line in
                         (self.folder / out / "metrics.jsonl").read_text().splitlines()[1:]]
                self.assertEqual(steps, list(range(1, 25)))

    def test_same_bits_however_computed(self):
        self.write(V3)
        self.assertEqual(self.train("plain")[0], 0)
        for flags in (("train.threads=1",), ("train.micro_batch=1",), ("train.recompute=true", "train.threads=3")):
            out = "-".join(flags)
            code, _, error = self.train(out, *[word for flag in flags for word in ("--set", flag)])
            self.assertEqual(code, 0, error)
            self.assertEqual(self.weights(out), self.weights("plain"), out)

    def test_bf16(self):
        """On the kernels that emulate the unit: learns as well as exact, with the same bits however it is computed."""
        self.addCleanup(os.environ.pop, "FATHOM_KERNELS")
        os.environ["FATHOM_KERNELS"] = "ref"
        self.write(V3)
        for out, flags in (("exact", ()), ("bf16", ("train.profile=bf16",)),
                           ("parts", ("train.profile=bf16", "train.micro_batch=1", "train.recompute=true"))):
            code, _, error = self.train(out, *[word for flag in flags for word in ("--set", flag)])
            self.assertEqual(code, 0, error)
        self.assertEqual(self.weights("parts"), self.weights("bf16"))
        self.assertTrue(self.weights("exact") != self.weights("bf16"))
        exact, bf16 = (json.loads((self.folder / out / "metrics.jsonl").read_text().splitlines()[-1])["validation_loss"]
                       for out in ("exact", "bf16"))
        self.assertLess(abs(bf16 - exact), 0.05 * exact)

    def test_sigterm_saves_and_ends(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            out = f"signal-{how}"
            self.assertEqual(self.signalled(out, how), 130)
            kept = sorted(path.name for path in (self.folder / out / "checkpoints").iterdir())
            self.assertTrue(kept and all(name.startswith("step-") and "." not in name for name in kept), kept)

    def test_a_loss_that_is_no_number(self):
        """A weight that is none: the run stops at the last good state, or leaves batches out, as the recipe says."""
        self.assertEqual(self.train("first", "--set", "train.steps=4")[0], 0)
        broken = self.folder / "broken"
        shutil.copytree(self.folder / "first" / "checkpoints" / "step-4", broken)
        file = broken / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-4] + struct.pack("<f", math.nan))
        from_broken = RECIPE.replace('config = "config.json"', f'start = "{broken}"').replace(
            'tokenizer = "characters"', "")
        self.write(CONFIG, from_broken)
        code, _, error = self.train("stop", "--set", "train.on_nan=stop")
        self.assertEqual(code, 1, error)
        self.assertRegex(error, "step 1: the loss is -?nan; the run stops at the state before it")
        code, _, error = self.train("skip", "--set", "train.on_nan=skip", "--set", "train.steps=4")
        self.assertEqual(code, 0, error)
        self.assertRegex(error, "note: step 2: the loss is -?nan")

    def test_adapter(self):
        """LoRA beside a frozen model: resumed with the same bits, answered with, in peft's format."""
        self.assertEqual(self.train("base", "--set", "train.steps=4")[0], 0)
        base = self.folder / "base" / "checkpoints" / "step-4"
        (self.folder / "pairs.jsonl").write_text("".join(
            json.dumps({"prompt": "to be", "completion": ", or " + "not" * n}) + "\n" for n in range(1, 9)))
        self.write(CONFIG, f"""
            stage = "sft"
            model.start = "{base}"
            lora = {{rank = 2, targets = ["q_proj", "down_proj"]}}
            data = {{train = ["pairs.jsonl"], validation_fraction = 0.25}}
            train = {{steps = 8, batch = 1, save_every = 2}}""")
        code, printed, error = self.train("whole", "--json")
        self.assertEqual(code, 0, error)
        self.assertIn("adapter beside a frozen model (exact)", error)
        adapter = pathlib.Path(json.loads(printed)["checkpoint"])
        self.assertEqual(json.loads((adapter / "adapter_config.json").read_text())["r"], 2)
        process = self.start(self.folder / "recipe.toml", "--out", self.folder / "killed")
        while process.poll() is None and not (self.folder / "killed/checkpoints/step-2").exists():
            time.sleep(0.001)
        process.kill()
        process.communicate()
        code, _, error = run("train", "--resume", self.folder / "killed")
        self.assertEqual(code, 0, error)
        name = "checkpoints/step-8/adapter_model.safetensors"
        self.assertEqual((self.folder / "killed" / name).read_bytes(), (self.folder / "whole" / name).read_bytes())
        code, printed, error = run("run", base, "--adapter", adapter, "--raw", "to be", "--max-tokens", 3)
        self.assertEqual(code, 0, error)

    def test_reinforcement(self):
        """GRPO on a task: rewards are logged, every answer is verified, and a resumed run has the same bits."""
        (self.folder / "config.json").write_text(json.dumps(CONFIG))
        (self.folder / "recipe.toml").write_text("""
            stage = "sft"
            model = {config = "config.json", tokenizer = "characters"}
            data = {task = "larger-digit", context = 16, examples = 64}
            optimizer.learning_rate = 1e-2
            train = {steps = 6, batch = 4}""")
        code, printed, error = self.train("start", "--json")
        self.assertEqual(code, 0, error)
        start = json.loads(printed)["checkpoint"]
        (self.folder / "recipe.toml").write_text(f"""
            stage = "grpo"
            model.start = "{start}"
            data.context = 16
            grpo = {{task = "larger-digit", prompts = 4, group = 4, max_tokens = 4, beta = 0.01, updates = 2}}
            train = {{steps = 6, batch = 16, save_every = 2}}""")
        code, _, error = self.train("whole")
        self.assertEqual(code, 0, error)
        lines = [json.loads(line) for line in (self.folder / "whole" / "metrics.jsonl").read_text().splitlines()[1:]]
        self.assertEqual(len(lines), 6)
        for line in lines:
            self.assertGreater(line["verified_tokens"], 0)
            drawing = line["verified_tokens"] / line["drawn_per_second"]  # seconds, a part of all those so far
            self.assertTrue(0 < drawing < line["seconds"], line)
            self.assertTrue(0 <= line["reward"] <= 1)
        self.assertIn("validation_reward", lines[-1])
        process = self.start(self.folder / "recipe.toml", "--out", self.folder / "killed")
        while process.poll() is None and not (self.folder / "killed/checkpoints/step-2").exists():
            time.sleep(0.001)
        process.kill()
        process.communicate()
        code, _, error = run("train", "--resume", self.folder / "killed")
        self.assertEqual(code, 0, error)
        self.assertEqual(self.weights("killed", 6), self.weights("whole", 6))

    def test_preferences(self):
        """DPO: the preferred answers gain, on held-out pairs too; the reference is in the checkpoint."""
        self.assertEqual(self.train("base", "--set", "train.steps=4")[0], 0)
        base = self.folder / "base" / "checkpoints" / "step-4"
        (self.folder / "pairs.jsonl").write_text("".join(
            json.dumps({"prompt": "to be" + " " * n, "chosen": "or not", "rejected": "be to"}) + "\n"
            for n in range(1, 13)))
        for lora, rate in (("{rank = 0}", 3e-3), ('{rank = 2, targets = ["q_proj", "up_proj"]}', 5e-2)):
            self.write(CONFIG, f"""
                stage = "dpo"
                model.start = "{base}"
                lora = {lora}
                data = {{train = ["pairs.jsonl"], validation_fraction = 0.25}}
                optimizer.learning_rate = {rate}
                train = {{steps = 10, batch = 4, micro_batch = 2, save_every = 2}}""")
            name = "adapter" if "q_proj" in lora else "all"
            code, _, error = self.train(name)
            self.assertEqual(code, 0, error)
            lines = [json.loads(line) for line in (self.folder / name / "metrics.jsonl").read_text().splitlines()[1:]]
            self.assertAlmostEqual(lines[0]["loss"], math.log(2), 6, "model and reference are one at first")
            self.assertLess(lines[-1]["validation_loss"], 0.6)
            self.assertEqual(lines[-1]["validation_preferred"], 1)
            process = self.start(self.folder / "recipe.toml", "--out", self.folder / f"{name}-killed")
            while process.poll() is None and not (self.folder / f"{name}-killed/checkpoints/step-2").exists():
                time.sleep(0.001)
            process.kill()
            process.communicate()
            code, _, error = run("train", "--resume", self.folder / f"{name}-killed")
            self.assertEqual(code, 0, error)
            file = "checkpoints/step-10/" + ("adapter_model.safetensors" if "q_proj" in lora else "model.safetensors")
            self.assertEqual((self.folder / f"{name}-killed" / file).read_bytes(),
                             (self.folder / name / file).read_bytes())

    def test_distillation(self):
        """From a llama's distributions to a model of V3's shape, half of the texts the student's own: it comes nearer to
        the teacher, and a killed run has the same bits, as have other threads, micro-batches and recomputation."""
        self.assertEqual(self.train("teacher", "--set", "optimizer.ema_decay=0")[0], 0)
        teacher = self.folder / "teacher/checkpoints/step-24"
        distill = f"""
            stage = "distill"
            model = {{config = "config.json", tokenizer = "characters"}}
            data = {{train = ["text.txt"], validation_fraction = 0.1, context = 16}}
            distill = {{teacher = "{teacher}", on_policy = 0.5, max_tokens = 8}}
            optimizer.learning_rate = 1e-2
            train = {{steps = 12, batch = 4, save_every = 4, threads = 2}}"""
        self.write(V3, distill)
        code, _, error = self.train("whole")
        self.assertEqual(code, 0, error)
        self.assertIn("forward_kl from llama (exact)", error)
        lines = [json.loads(line) for line in (self.folder / "whole/metrics.jsonl").read_text().splitlines()[1:]]
        self.assertEqual(len(lines), 12)
        for line in lines:
            self.assertTrue(line["loss"] == line["kl"] > 0 and line["cross_entropy"] > 0 and 1 <= line["length"] <= 8)
        judged = [line for line in lines if "validation_kl" in line]
        self.assertEqual([line["step"] for line in judged], [4, 8, 12])
        self.assertLess(judged[-1]["validation_kl"], 0.7 * judged[0]["validation_kl"])
        self.assertLess(judged[-1]["validation_cross_entropy"], judged[0]["validation_cross_entropy"])
        process = self.start(self.folder / "recipe.toml", "--out", self.folder / "killed")
        while process.poll() is None and not (self.folder / "killed/checkpoints/step-4").exists():
            time.sleep(0.001)
        process.kill()
        process.communicate()
        code, _, error = run("train", "--resume", self.folder / "killed")
        self.assertEqual(code, 0, error)
        self.assertEqual(self.weights("killed", 12), self.weights("whole", 12))
        code, _, error = self.train("otherwise", "--set", "train.threads=1", "--set", "train.micro_batch=1", "--set",
                                    "train.recompute=true")
        self.assertEqual(code, 0, error)
        self.assertEqual(self.weights("otherwise", 12), self.weights("whole", 12))

        (self.folder / "other.txt").write_text(TEXT.replace("q", "Q"))
        code, _, error = self.train("other", "--set", f"data.train={self.folder / 'other.txt'}")
        self.assertEqual(code, 1)
        self.assertRegex(error, f"distill.teacher: {teacher}: expected the student's tokenizer, where id 3 is \"Q\"")

    def test_distillation_of_answers(self):
        """A quantised teacher, conversations, and an adapter that learns."""
        self.assertEqual(self.train("base", "--set", "train.steps=4", "--set", "optimizer.ema_decay=0")[0], 0)
        base, teacher = self.folder / "base/checkpoints/step-4", self.folder / "teacher.gguf"
        code, _, error = run("convert", base, teacher, "--type", "q8_0")
        self.assertEqual(code, 0, error)
        (self.folder / "pairs.jsonl").write_text("".join(
            json.dumps({"prompt": "to be", "completion": ", or " + "not" * n}) + "\n" for n in range(1, 9)))
        self.write(CONFIG, f"""
            stage = "distill"
            model.start = "{base}"
            lora = {{rank = 2, targets = ["q_proj", "down_proj"]}}
            data.train = ["pairs.jsonl"]
            distill = {{teacher = "{teacher}", loss = "reverse_kl", top_k = 5, temperature = 2}}
            train = {{steps = 2, batch = 4}}""")
        code, printed, error = self.train("adapter", "--json")
        self.assertEqual(code, 0, error)
        self.assertIn("reverse_kl from llama (int8)", error)
        lines = [json.loads(line) for line in (self.folder / "adapter/metrics.jsonl").read_text().splitlines()[1:]]
        self.assertAlmostEqual(lines[0]["loss"], 4 * lines[0]["kl"], 12)
        self.assertLess(lines[0]["kl"], 1e-3, "the teacher is the student, rounded")
        code, _, error = self.train("answers", "--set", "distill.on_policy=1")
        self.assertEqual(code, 0, error)
        lines = [json.loads(line) for line in (self.folder / "answers/metrics.jsonl").read_text().splitlines()[1:]]
        self.assertTrue(lines[-1]["length"] >= 1 and lines[-1]["kl"] > 0)

    def test_other_data_is_not_gone_on_with(self):
        self.assertEqual(self.train("run", "--set", "train.steps=6")[0], 0)
        recipe = self.folder / "run" / "recipe.toml"
        recipe.write_text(recipe.read_text().replace("steps = 6", "steps = 6 # the same"))
        (self.folder / "text.txt").write_text(TEXT + "more")
        code, _, error = run("train", "--resume", self.folder / "run")
        self.assertEqual(code, 1)
        self.assertRegex(error, "trainer.json.*data: expected")

    def test_a_full_disk(self):
        """A limit of the size of files stands for a full disk: the last checkpoint stays whole, and the run goes on."""
        self.assertEqual(self.train("whole")[0], 0)
        self.assertEqual(self.train("full", "--set", "train.keep=9")[0], 0)
        for step in (12, 18, 24):
            shutil.rmtree(self.folder / "full" / "checkpoints" / f"step-{step}")
        kept = ["step-6"]
        limit = 40_000  # less than model.safetensors
        process = subprocess.run([FATHOM, "train", "--resume", self.folder / "full"], capture_output=True, text=True,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual(process.returncode, 3, process.stderr)
        self.assertEqual(sorted(path.name for path in (self.folder / "full" / "checkpoints").iterdir()), kept)
        code, _, error = run("train", "--resume", self.folder / "full")
        self.assertEqual(code, 0, error)
        self.assertEqual(self.weights("full"), self.weights("whole"))

    def test_refused(self):
        for flags, said in ((("train.stepz=3",), "train.steps"), (("data.context=65",), "max_position_embeddings"),
                            (("data.train=none.txt",), "none.txt")):
            code, _, error = self.train("refused-" + flags[0], "--set", flags[0])
            self.assertNotEqual(code, 0)
            self.assertIn(said, error)
        (self.folder / "empty").mkdir()
        code, _, error = run("train", "--resume", self.folder / "empty")
        self.assertEqual(code, 1)
        self.assertIn("recipe.toml", error)
        code, printed, error = run("train", "--help-recipe")
        self.assertEqual(code, 0)
        self.assertIn("learning_rate", printed)


if __name__ == "__main__":
    _fathom.harness.main()

#!/usr/bin/env python3
"""The commands for programs: tokenize, render, logits, config, run; their lines of JSON, errors and exit codes."""
import json
import pathlib
import tempfile
import time
import unittest

import _fathom
from _fathom import GOLDEN, run

SHARED, MODEL = _fathom.shared(), _fathom.chat_model()
needs_shared = unittest.skipUnless(SHARED, "needs $FATHOM_SHARED")
needs_model = unittest.skipUnless(MODEL, "needs a chat model")


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Usage(unittest.TestCase):
    def test_every_command_has_help_with_an_example(self):
        for command in ("chat", "run", "tokenize", "render", "logits", "config"):
            code, out, _ = run(command, "--help")
            self.assertEqual(code, 0)
            self.assertIn("Example:", out)

    def test_exit_codes(self):
        self.assertEqual(run()[0], 2)
        self.assertEqual(run("run")[0], 2)
        self.assertEqual(run("nonsense")[0], 2)
        self.assertEqual(run("config", "--profile", "fast")[0], 2)
        code, _, error = run("run", "no/such-model", "hi", env={"FATHOM_HOME": "/nonexistent"})
        self.assertEqual(code, 1)
        self.assertIn("no model is in /nonexistent/models", error)

    def test_config_tells_where_values_come_from(self):
        with tempfile.TemporaryDirectory() as home:
            pathlib.Path(home, "config.toml").write_text("top_p = 0.5\nthreads = 3\n")
            code, out, _ = run("config", "--json", "--profile", "exact",
                               env={"FATHOM_HOME": home, "FATHOM_THREADS": "2"})
            self.assertEqual(code, 0)
            settings = json.loads(out)["settings"]
            self.assertEqual(settings["top-p"], {"value": "0.5", "source": f"{home}/config.toml"})
            self.assertEqual(settings["threads"], {"value": "2", "source": "FATHOM_THREADS"})
            self.assertEqual(settings["profile"], {"value": "exact", "source": "--profile"})
            self.assertEqual(settings["seed"]["source"], "default")
            pathlib.Path(home, "config.toml").write_text("topp = 0.5\n")
            code, _, error = run("config", env={"FATHOM_HOME": home})
            self.assertEqual(code, 2)
            self.assertIn("config.toml:1: topp", error)


@needs_shared
class Tokenize(unittest.TestCase):
    def test_vectors(self):
        folder = SHARED / "data" / "tokenizers"
        for name in sorted(path.parent.name for path in folder.glob("*/tokenizer.json")):
            for kind in ("encode", "decode"):
                vectors = folder / "vectors" / f"{name}.{kind}.jsonl"
                if not vectors.exists():
                    continue
                wanted = lines(vectors.read_text())[:60]
                key = "text" if kind == "encode" else "ids"
                asked = "".join(json.dumps({key: v[key], "skip_special_tokens": v.get("skip_special_tokens", False),
                                            "parse_special": True}) + "\n" for v in wanted)
                code, out, error = run("tokenize", folder / name, "--jsonl", stdin=asked)
                self.assertEqual(code, 0, error)
                answer = "ids" if kind == "encode" else "text"
                for vector, got in zip(wanted, lines(out), strict=True):
                    self.assertEqual(got, {answer: vector[answer]}, f"{name} {vector['id']}")

    def test_errors_keep_the_lines_in_step(self):
        folder = SHARED / "data" / "tokenizers" / "qwen3"
        asked = ['{"text":"a"}', "no json", "", '{"ids":[-1]}', '{"ids":[9999999]}', "{}", "[1]", '{"ids":[64]}']
        code, out, _ = run("tokenize", folder, "--jsonl", stdin="\n".join(asked) + "\n")
        got = lines(out)
        self.assertEqual(code, 1)
        self.assertEqual(["error" in g for g in got], [False, True, True, True, True, True, True, False])


@needs_shared
class Render(unittest.TestCase):
    def test_golden(self):
        folder = SHARED / "data" / "templates"
        cases = {}
        for case in lines((folder / "golden.jsonl").read_text()):
            cases.setdefault(case["template"], []).append(case)
        checked = 0
        for name, wanted in cases.items():
            asked = "".join(json.dumps(c["context"]) + "\n" for c in wanted)
            _, out, error = run("render", "--template", folder / name, "--jsonl", stdin=asked)
            for case, got in zip(wanted, lines(out), strict=True):
                if case.get("output") is None:
                    self.assertIn("error", got, case["id"])
                else:
                    # The makers' clock stood at that day.
                    prompt = got.get("prompt", "").replace(time.strftime("%d %b %Y"), "20 Jan 2025")
                    self.assertEqual(prompt, case["output"], f"{case['id']}: {got}")
                checked += 1
        self.assertGreater(checked, 0)


class Logits(unittest.TestCase):
    def test_golden_models(self):
        models = sorted(path.parent for path in (GOLDEN / "models").glob("*/golden.safetensors"))
        self.assertTrue(models)
        for model in models:
            golden = _fathom.read_safetensors(model / "golden.safetensors")
            shape, ids = golden["input_ids"]
            with tempfile.TemporaryDirectory() as folder:
                file, out = pathlib.Path(folder, "ids.json"), pathlib.Path(folder, "out.safetensors")
                file.write_text(json.dumps([ids[:shape[1]], ids[shape[1]:]]))
                code, _, error = run("logits", model, "--ids", file, "--out", out, "--layers", "--profile", "exact")
                self.assertEqual(code, 0, error)
                for name, (got_shape, got) in _fathom.read_safetensors(out).items():
                    want_shape, want = golden[name]
                    self.assertEqual(got_shape, want_shape, f"{model.name} {name}")
                    scale = max(map(abs, want))
                    worst = max(abs(a - b) for a, b in zip(got, want, strict=True))
                    self.assertLess(worst, 2e-4 * scale, f"{model.name} {name}")

    def test_lists_of_different_length_and_wrong_ids(self):
        model = GOLDEN / "models" / "llama3"
        with tempfile.TemporaryDirectory() as folder:
            file, out = pathlib.Path(folder, "ids.json"), pathlib.Path(folder, "out.safetensors")
            file.write_text("[[1, 2, 3], [4]]")
            self.assertEqual(run("logits", model, "--ids", file, "--out", out)[0], 0)
            self.assertEqual({n: s for n, (s, _) in _fathom.read_safetensors(out).items()},
                             {"logits.0": [3, 384], "logits.1": [1, 384]})
            for wrong in ("[[99999]]", "[[-1]]", "[[]]", "[]", "{}", "[1, 2]", "["):
                file.write_text(wrong)
                code, _, error = run("logits", model, "--ids", file, "--out", out)
                self.assertEqual(code, 1, wrong + error)

    def test_a_broken_file_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            broken = pathlib.Path(folder, "broken.gguf")
            broken.write_bytes(b"GGUF" + b"\xff" * 100)
            for command in (["run", broken, "hi"], ["tokenize", broken, "hi"]):
                code, _, error = run(*command)
                self.assertEqual(code, 1, error)
                self.assertIn("broken.gguf", error)


@needs_model
class Run(unittest.TestCase):
    def test_answer_alone_on_stdout_and_first_line_on_stderr(self):
        code, out, error = run("run", MODEL, "What is the capital of France?", "--temperature", "0", "--seed", "5",
                               "--profile", "exact", "--max-tokens", "30")
        self.assertEqual(code, 0, error)
        self.assertEqual(out, "The capital of France is Paris.\n")
        first = error.splitlines()[0]
        for word in ("profile exact", "cache f32", "kernels ", "thread", "ctx ", "seed 5"):
            self.assertIn(word, first)
        self.assertIn("tok/s", error)

    def test_cache_type(self):
        code, out, error = run("run", MODEL, "What is the capital of France?", "--temperature", "0", "--cache-type", "q8",
                               "--profile", "exact", "--max-tokens", "30")
        self.assertEqual((code, out), (0, "The capital of France is Paris.\n"), error)
        self.assertIn("cache q8", error.splitlines()[0])

    def test_speculation_changes_nothing(self):
        def answer(how):
            code, out, error = run("run", MODEL, "Repeat this list three times exactly: apples, pears, plums, cherries, "
                                   "grapes, melons, bananas, oranges.", "--profile", "exact", "--temperature", "0",
                                   "--max-tokens", "40", "--logprobs", "2", "--json", "--speculate", how)
            self.assertEqual(code, 0, error)
            return json.loads(out)
        guessed, plain = answer("auto"), answer("off")
        for key in ("ids", "text", "logprobs", "finish_reason"):
            self.assertEqual(guessed[key], plain[key])
        self.assertGreater(guessed["speculation"]["accepted_tokens"], 0)
        self.assertEqual(plain["speculation"]["drafted_tokens"], 0)

    def test_batch_equals_alone(self):
        questions = [{"prompt": p, "seed": i, "max_tokens": 8 + i, "id": i} for i, p in
                     enumerate(["Name a colour.", "What is 2+2?", "Say hello.", "Why?"])]
        questions.insert(2, {"prompt": "x", "temperature": -1})
        asked = "".join(json.dumps(q) + "\n" for q in questions)
        code, together, error = run("run", MODEL, "--jsonl", "--parallel", "3", stdin=asked)
        self.assertEqual(code, 1, error)
        _, alone, _ = run("run", MODEL, "--jsonl", "--parallel", "1", stdin=asked)
        keys = ("id", "text", "ids", "finish_reason", "seed")
        self.assertEqual([{k: a.get(k) for k in keys} for a in lines(together)],
                         [{k: a.get(k) for k in keys} for a in lines(alone)])
        self.assertIn("temperature", lines(together)[2]["error"])

    def test_json_has_tokens_logprobs_timings(self):
        code, out, _ = run("run", MODEL, "Hi", "--json", "--logprobs", "2", "--max-tokens", "3", "--seed", "1")
        answer = json.loads(out)
        self.assertEqual((code, answer["format"], answer["seed"], answer["finish_reason"]), (0, "fathom.answer", 1, "length"))
        self.assertEqual([step["id"] for step in answer["logprobs"]], answer["ids"])
        self.assertEqual([len(step["top"]) for step in answer["logprobs"]], [2, 2, 2])
        code, out, _ = run("run", MODEL, "Hi", "--json", "--max-tokens", "3", "--seed", "1")
        plain = json.loads(out)
        self.assertEqual([step["logprob"] for step in plain["logprobs"]], [step["logprob"] for step in answer["logprobs"]])
        self.assertIn("first_token_s", answer["timings"])

    def test_a_budget_ends_the_thinking_and_an_answer_comes(self):
        with tempfile.TemporaryDirectory() as folder:
            template = pathlib.Path(folder, "think.jinja")
            template.write_text("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                                "<|im_start|>assistant\n<think>\n")
            code, out, error = run("run", MODEL, "Count to ten.", "--template", template, "--budget", "5", "--json",
                                   "--max-tokens", "40", "--temperature", "0", "--profile", "exact")
            self.assertEqual(code, 0, error)
            answer = json.loads(out)
            self.assertTrue(answer["thinking"])
            self.assertTrue(answer["text"])
            self.assertLess(answer["usage"]["thinking_tokens"], 20)

    def test_refused_for_memory(self):
        code, _, error = run("run", MODEL, "Hi", "--ctx", "99999999")
        self.assertEqual(code, 2, error)  # more than the model's own
        code, _, error = run("run", MODEL, "--jsonl", "--parallel", "1024", "--ctx", "8192", stdin="")
        self.assertEqual(code, 3, error)
        self.assertIn("GiB", error)


if __name__ == "__main__":
    _fathom.harness.main()

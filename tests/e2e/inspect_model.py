#!/usr/bin/env python3
"""fathom inspect: what it says of whole and huge models (inspect_broken.py has the others).
The file is not called inspect.py, which would hide Python's own module from the other tests here."""
import hashlib
import json
import math
import os
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
from _fathom import FATHOM, GOLDEN, run
from _fathom import inspected as report
from _made_models import V3, gguf, safetensors_header, v3_tensors, write_sparse_shards

MODELS, GGUF = GOLDEN / "models", GOLDEN / "gguf"
SHARED = _fathom.shared()


class Counts(unittest.TestCase):
    def expected(self, folder):
        """total, active and MTP parameters, from the safetensors header and config.json alone."""
        config = json.loads((folder / "config.json").read_text())
        header, _ = safetensors_header(folder / "model.safetensors")
        layers = config["num_hidden_layers"]
        experts = config.get("n_routed_experts") or config.get("num_experts") or 0
        total = routed = mtp = scales = 0
        for name, entry in header.items():
            values = math.prod(entry["shape"])
            words = name.split(".")
            if name.endswith("_scale_inv"):
                scales += values
            elif words[1] == "layers" and int(words[2]) >= layers:
                mtp += values
            else:
                total += values
                routed += values if ".mlp.experts." in name else 0
        active = total - routed + (routed // experts * config["num_experts_per_tok"] if experts else 0)
        return total, active, mtp, scales

    def test_folders(self):
        folders = sorted(path.parent for path in MODELS.glob("*/model.safetensors"))
        self.assertTrue(folders)
        for folder in folders:
            got = report(folder)["parameters"]
            self.assertEqual((got["total"], got["active"], got["mtp"], got["scales"]), self.expected(folder), folder.name)

    def test_gguf_twins_have_the_same_parameters(self):
        for file in sorted(GGUF.glob("*.gguf")):
            folder = MODELS / file.name.split(".")[0].removesuffix("-legacy").removesuffix("-mtp")
            if folder.is_dir():
                got = report(file)["parameters"]
                self.assertEqual((got["total"], got["active"]), self.expected(folder)[:2], file.name)

    def test_types_and_tensors(self):
        folder = MODELS / "v3-fp8"
        got = report(folder, "--tensors")
        header, _ = safetensors_header(folder / "model.safetensors")
        self.assertEqual({t["name"]: (t["type"], t["shape"], t["bytes"]) for t in got["tensor_table"]},
                         {name: (e["dtype"], e["shape"], e["data_offsets"][1] - e["data_offsets"][0])
                          for name, e in header.items()})
        types = {t["type"]: t for t in got["types"]}
        self.assertEqual(types["F8_E4M3"]["bits_per_weight"], 8)
        self.assertEqual(types["F32 (scales)"]["tensors"], sum(name.endswith("_scale_inv") for name in header))
        self.assertEqual(sum(t["bytes"] for t in got["types"]), got["tensor_bytes"])
        q4 = {t["type"]: t for t in report(GGUF / "qwen2-wide.Q4_K_M.gguf")["types"]}
        self.assertEqual((q4["Q4_K"]["bits_per_weight"], q4["Q6_K"]["bits_per_weight"]), (4.5, 6.5625))

    def test_published_v3_by_its_configuration_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "config.json").write_text(json.dumps(V3))
            got = report(folder, "--ctx", "4096", code=1)
            self.assertFalse(got["complete"])
            self.assertEqual(got["files"][0]["state"], "missing")
            self.assertEqual(got["parameters"]["source"], "configuration")
            self.assertEqual(got["parameters"]["total"], 671026419200)
            self.assertEqual(round(got["parameters"]["active"] / 1e9, 2), 37.55)
            self.assertEqual((got["memory"]["weights_source"], got["memory"]["weights"]),
                             ("configuration", got["parameters"]["total"] + got["parameters"]["mtp"]))  # FP8
            # Latents of 576 values in 61 layers and the MTP module.
            kv = {"f32": 4, "bf16": 2}[got["memory"]["cache_type"]]
            self.assertEqual(got["memory"]["kv_per_token"], 62 * 576 * kv)
            code, out, _ = run("inspect", folder)
            self.assertEqual(code, 1)
            self.assertIn("671,026,419,200 (671 B), as the configuration implies", out)
            self.assertIn("0 of 1 file,", out)
            self.assertIn("model.safetensors  missing", out)


class Memory(unittest.TestCase):
    def test_arithmetic(self):
        folder = MODELS / "qwen2"
        config = json.loads((folder / "config.json").read_text())
        header, start = safetensors_header(folder / "model.safetensors")
        got = report(folder, "--ctx", "100", "--batch", "3", "--cache-type", "bf16")["memory"]
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        per_token = config["num_hidden_layers"] * 2 * config["num_key_value_heads"] * head * 2
        self.assertEqual(got["kv_per_token"], per_token)
        # Vectors are f32 in memory, BF16 in the file; the matrices' rows are whole panels of 16 here.
        vectors = sum(math.prod(e["shape"]) for e in header.values() if len(e["shape"]) == 1 and e["dtype"] == "BF16")
        self.assertEqual(got["weights"], (folder / "model.safetensors").stat().st_size - start + 2 * vectors)
        self.assertEqual(got["contexts"], [{"ctx": 100, "kv": 128 * 3 * per_token,  # whole pages of 64
                                            "total": got["weights"] + got["scratch"] + 128 * 3 * per_token}])
        f32 = report(folder, "--ctx", "100", "--cache-type", "f32")["memory"]
        self.assertEqual(f32["kv_per_token"], 2 * per_token)
        q8 = report(folder, "--ctx", "100", "--cache-type", "q8")["memory"]
        blocks = (head + 31) // 32
        self.assertEqual(q8["kv_per_token"], per_token // (2 * head) * (head + 4 * blocks))

    def test_impossible_settings(self):
        for wrong in (["--ctx", "99999999"], ["--batch", "0"], ["--cache-type", "q1"], ["--kernels", "none"]):
            code, out, error = run("inspect", MODELS / "qwen2", *wrong)
            self.assertEqual((code, out), (2, ""), wrong)


class Huge(unittest.TestCase):
    """Files of hundreds of GB, with holes instead of data: their headers are read and nothing else."""

    def cost(self, *arguments):
        """What the program asked the system to read, and what it held, in bytes; and its exit code."""
        script = 'cat /proc/self/io > /dev/null || exit 99; "$@" > /dev/null; code=$?; cat /proc/$$/io; exit $code'
        process = subprocess.Popen(["sh", "-c", script, "sh", str(FATHOM), *map(str, arguments)], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        out = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode == 99:
            self.skipTest("no /proc/PID/io here")
        # The shell's own counts include those of the children it waited for.
        counts = dict(line.split(": ") for line in out.splitlines() if ": " in line)
        return int(counts["rchar"]), usage.ru_maxrss << 10, process.returncode

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def grow(self, path, size):
        try:
            os.truncate(path, size)
        except OSError as error:
            self.skipTest(f"no sparse files of {size} bytes here: {error}")

    def check(self, path, size):
        got = report(path)
        self.assertTrue(got["complete"])
        self.assertGreater(got["tensor_bytes"], size - (1 << 20))
        self.assertIn("memory", got)
        read, held, code = self.cost("inspect", path)
        self.assertEqual(code, 0)
        self.assertLess(read, 64 << 20)
        self.assertLess(held, 1 << 30)

    def test_gguf(self):
        rows, width, layers = 1 << 20, 1 << 13, 25  # 16 GiB each in BF16
        keys = {"general.architecture": "llama", "llama.block_count": layers, "llama.context_length": 4096,
                "llama.embedding_length": width, "llama.feed_forward_length": rows, "llama.attention.head_count": 64,
                "llama.vocab_size": 1000}
        tensors = [(f"blk.{i}.ffn_up.weight", (width, rows), 30, i * rows * width * 2) for i in range(layers)]
        path = self.folder / "huge.gguf"
        path.write_bytes(gguf(keys, tensors))
        size = layers * rows * width * 2
        self.assertGreater(size, 400 * 10**9)
        self.grow(path, path.stat().st_size + size)
        self.check(path, size)

    def test_safetensors(self):
        rows, width, layers = 1 << 20, 1 << 13, 25
        each = rows * width * 2
        header = json.dumps({f"model.layers.{i}.mlp.up_proj.weight": {
            "dtype": "BF16", "shape": [rows, width], "data_offsets": [i * each, (i + 1) * each]} for i in range(layers)})
        shutil.copy(MODELS / "llama3" / "config.json", self.folder)
        path = self.folder / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header.encode())
        self.grow(path, path.stat().st_size + layers * each)
        self.check(self.folder, layers * each)

    def test_published_v3_by_its_tensor_table(self):
        (self.folder / "config.json").write_text(json.dumps(V3))
        try:
            write_sparse_shards(self.folder, v3_tensors(), 163)
        except OSError as error:
            self.skipTest(f"no sparse files of 5 GB here: {error}")
        got = report(self.folder)
        count = got["parameters"]
        self.assertTrue(got["complete"] and got["runnable"])
        self.assertEqual((got["tensors"], len(got["files"]), got["notes"]), (91991, 163, []))
        self.assertEqual((count["source"], count["total"]), ("tensors", 671026419200))
        self.assertEqual(round(count["active"] / 1e9, 2), 37.55)
        self.assertAlmostEqual((count["active"] - count["embedding"]) / 1e9, 36.6, delta=0.05)  # "37B activated"
        self.assertEqual(round(count["mtp"] / 1e9, 2), 13.46)
        read, held, code = self.cost("inspect", self.folder)
        self.assertEqual(code, 0)
        self.assertLess(read, 128 << 20)
        self.assertLess(held, 1 << 30)
        (self.folder / "model-00007-of-000163.safetensors").unlink()
        os.truncate(self.folder / "model-00008-of-000163.safetensors", 1 << 30)
        code, out, _ = run("inspect", self.folder)
        self.assertEqual(code, 1)
        for words in ("162 of 163 files", "model-00007-of-000163.safetensors  missing",
                      "model-00008-of-000163.safetensors  1.00 GiB  unfinished", "671,026,419,200 (671 B), as the"):
            self.assertIn(words, out)
        self.assertLess(len(out.splitlines()), 100)

    def test_hashing_can_be_interrupted(self):
        path = self.folder / "huge.gguf"
        path.write_bytes(gguf({"general.architecture": "x"}, [("t", (1 << 38,), 24, 0)]))
        self.grow(path, path.stat().st_size + (1 << 38))
        process = subprocess.Popen([str(FATHOM), "inspect", path, "--hash"], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        try:
            counts = pathlib.Path(f"/proc/{process.pid}/io")
            while process.poll() is None and int(counts.read_text().split()[1]) < (64 << 20):  # rchar: it hashes by now
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            out, error = process.communicate(timeout=60)
        except OSError as error:
            process.kill()
            process.communicate()
            self.skipTest(f"no /proc/PID/io here: {error}")
        self.assertEqual((process.returncode, out), (130, ""), error)


class Texts(unittest.TestCase):
    @unittest.skipUnless(SHARED, "needs $FATHOM_SHARED")
    def test_real_model(self):
        model = _fathom.chat_model()
        got = report(model)
        self.assertEqual(got["parameters"]["total"], 134515008)
        self.assertEqual(got["license"]["license"], "apache-2.0")
        special = {t["role"]: (t["id"], t["text"]) for t in got["tokenizer"]["special"]}
        self.assertEqual((special["bos"], special["eos"]), ((1, "<|im_start|>"), (2, "<|im_end|>")))
        self.assertIn({"id": 2, "text": "<|im_end|>"}, got["tokenizer"]["end_of_generation"])
        self.assertIn("<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n", got["chat_template"]["rendered"])
        self.assertIn("    <|im_start|>user\n    Hello!", run("inspect", model, "--render")[1])

    @unittest.skipUnless(SHARED, "needs $FATHOM_SHARED")
    def test_vocabulary_only(self):
        for path in sorted((SHARED / "data" / "tokenizers" / "gguf-vocab").glob("*.gguf")):
            got = report(path)
            self.assertEqual((got["content"], got["tensors"], got["runnable"]), ("vocabulary", 0, False))
            self.assertGreater(got["tokenizer"]["tokens"], 30000)

    @unittest.skipUnless(SHARED, "needs $FATHOM_SHARED")
    def test_folder_with_tokenizer_template_and_licence(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for file in (SHARED / "data" / "tokenizers" / "deepseek-v3").glob("*.json"):
                shutil.copy(file, folder)
            (folder / "config.json").write_text(json.dumps(V3))
            (folder / "README.md").write_text("---\nlibrary_name: x\nlicense: \"mit\"\nlicense_link: LICENSE\n---\n# X\n")
            got = report(folder, code=1)
            self.assertEqual(got["license"], {"license": "mit", "link": "LICENSE", "source": "README.md"})
            source = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
            self.assertEqual(got["chat_template"]["bytes"], len(source.encode()))
            self.assertEqual(got["chat_template"]["sha256"], hashlib.sha256(source.encode()).hexdigest())
            self.assertIn("Hello!", got["chat_template"]["rendered"])


class Hashes(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(MODELS / "qwen2" / name, self.folder / name)

    def test_header_and_content(self):
        data = (self.folder / "model.safetensors").read_bytes()
        _, start = safetensors_header(self.folder / "model.safetensors")
        got = report(self.folder, "--hash")
        files = {f["name"]: f for f in got["files"]}
        self.assertEqual(files["model.safetensors"]["header_sha256"], hashlib.sha256(data[:start]).hexdigest())
        for name, entry in files.items():
            self.assertEqual(entry["sha256"], hashlib.sha256((self.folder / name).read_bytes()).hexdigest())
        self.assertEqual(set(files), {"config.json", "model.safetensors"})
        header, _ = safetensors_header(self.folder / "model.safetensors")
        own = hashlib.blake2b(digest_size=32)  # spec/numerics.md 9
        for name in sorted(header):
            begin, end = header[name]["data_offsets"]
            own.update(f"{name}\n{header[name]['dtype']}\n{','.join(map(str, header[name]['shape']))}\n".encode())
            own.update(data[start + begin:start + end])
        self.assertEqual(got["weights_id"], own.hexdigest())
        self.assertNotIn("sha256", report(self.folder)["files"][0])

    def test_what_pull_recorded(self):
        right = hashlib.sha256((self.folder / "model.safetensors").read_bytes()).hexdigest()
        (self.folder / ".fathom").mkdir()
        record = {"format": "fathom.pull", "version": 1, "endpoint": "https://hub.example", "repository": "owner/name",
                  "revision": "main", "commit": "a" * 40, "files": [{"path": "model.safetensors", "size": 1, "sha256": right}]}
        (self.folder / ".fathom" / "pull.json").write_text(json.dumps(record))
        got = report(self.folder, "--hash")
        self.assertEqual(got["pull"], {"repository": "owner/name", "revision": "main", "commit": "a" * 40})
        self.assertEqual(got["files"][0]["hash_check"], "equal")
        record["files"][0]["sha256"] = "0" * 64
        (self.folder / ".fathom" / "pull.json").write_text(json.dumps(record))
        self.assertEqual(report(self.folder)["files"][0]["recorded_sha256"], "0" * 64)
        self.assertEqual(report(self.folder, "--hash", code=1)["files"][0]["hash_check"], "differs")
        (self.folder / ".fathom" / "pull.json").write_text("{ broken")
        self.assertIn("problem", report(self.folder)["pull"])


class Page(unittest.TestCase):
    """docs/inspect.md as a person follows it, with golden models in the place of the page's."""

    def test_every_command_works(self):
        text_of = (_fathom.ROOT / "docs" / "inspect.md").read_text(encoding="utf-8")
        blocks = re.findall(r"^```sh\n(.*?)^```", text_of, flags=re.M | re.S)
        lines = [line for block in blocks for line in block.splitlines() if line.startswith("fathom ")]
        self.assertGreater(len(lines), 10)
        with tempfile.TemporaryDirectory() as name:
            work = pathlib.Path(name)
            for target, source in (("model.gguf", "v3.gguf"), ("other.gguf", "v3.gguf"),
                                   ("model-Q8_0.gguf", "v3.Q8_0.gguf"), ("deepseek-v3.gguf", "v3-fp8.gguf")):
                shutil.copy(GGUF / source, work / target)
            whole = (GGUF / "v3.gguf").read_bytes()
            (work / "half-downloaded.gguf").write_bytes(whole[:len(whole) // 2])
            shutil.copytree(MODELS / "v3-fp8", work / "DeepSeek-V3")
            for line in lines:
                words = shlex.split(line, comments=True)
                code, out, error = run(*words[1:], cwd=work)
                differs = "half-downloaded" in line or ("--diff" in line and "other.gguf" not in line)
                self.assertEqual((code, error), (1 if differs else 0, ""), line)
                self.assertTrue(out, line)


class Json(unittest.TestCase):
    def test_version_1_keeps_its_keys(self):
        got = report(GGUF / "v3.Q4_K_M.gguf", "--tensors")
        self.assertEqual((got["format"], got["version"]), ("fathom.inspect", 1))
        self.assertLessEqual(
            {"path", "container", "content", "complete", "runnable", "architecture", "config", "parameters", "tensors",
             "absent_tensors", "tensor_bytes", "types", "memory", "tokenizer", "chat_template", "license", "files",
             "pull", "metadata", "notes", "problems", "tensor_table"}, set(got))
        self.assertLessEqual({"total", "active", "embedding", "routed_experts", "mtp", "scales", "other", "source"},
                             set(got["parameters"]))
        self.assertLessEqual({"weights", "weights_source", "scratch", "kv_per_token", "profile", "cache_type", "batch",
                              "contexts", "available", "fits_ctx"}, set(got["memory"]))
        self.assertLessEqual({"name", "type", "shape", "bytes", "offset", "file"}, set(got["tensor_table"][0]))
        whole = (GGUF / "v3.Q4_K_M.gguf").read_bytes()
        for tensor in got["tensor_table"]:
            self.assertLessEqual(tensor["offset"] + tensor["bytes"], len(whole))
        diff = json.loads(run("inspect", "--diff", GGUF / "v3.gguf", GGUF / "v3.gguf", "--json")[1])
        self.assertEqual(set(diff), {"format", "version", "a", "b", "same", "keys", "tensors", "notes"})
        self.assertEqual((diff["format"], diff["version"]), ("fathom.inspect.diff", 1))


class Help(unittest.TestCase):
    def test_help(self):
        code, out, _ = run("inspect", "--help")
        self.assertEqual(code, 0)
        for word in ("Example:", "--tensors", "--diff", "--ctx", "--batch", "--cache-type", "Exit code"):
            self.assertIn(word, out)


if __name__ == "__main__":
    _fathom.harness.main()

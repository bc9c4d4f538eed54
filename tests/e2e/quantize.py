#!/usr/bin/env python3
"""fathom quantize and fathom imatrix: files, notices, errors, exit codes, and what is left when they are stopped."""
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import _fathom
from _fathom import FATHOM, GOLDEN, run

GGUF = GOLDEN / "gguf"
SHARED, MODEL = _fathom.shared(), _fathom.chat_model()
needs_model = unittest.skipUnless(MODEL, "needs a chat model")


class InFolder(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def files(self):
        return sorted(path.name for path in self.folder.iterdir())


class Quantize(InFolder):
    def test_equals_the_reference_file(self):
        for kind in ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"):
            out = self.folder / f"{kind}.gguf"
            code, _, error = run("quantize", GGUF / "v3.gguf", out, kind, "--threads", 2)
            self.assertEqual(code, 0, error)
            if (twin := GGUF / f"v3.{kind}.gguf").exists():
                self.assertEqual(out.read_bytes(), twin.read_bytes(), kind)

    def test_last_line_and_notes(self):
        out = self.folder / "out.gguf"
        code, printed, error = run("quantize", GGUF / "v3.gguf", out, "q4_k_m")
        self.assertEqual((code, printed), (0, ""))
        *notes, last = error.splitlines()
        self.assertTrue(any("fell back from Q4_K (blocks of 256 values) to Q5_0" in note for note in notes), notes)
        self.assertRegex(last, r"^wrote .*out\.gguf: \d+ tensors as Q4_K_M, [\d.]+ MB \(16\.\d\d bits per weight\) -> "
                               r"[\d.]+ MB \([\d.]+\)$")

    def test_json(self):
        out = self.folder / "out.gguf"
        code, printed, _ = run("quantize", GGUF / "qwen2-wide.gguf", out, "Q4_K_M", "--json")
        self.assertEqual(code, 0)
        made = json.loads(printed)
        self.assertEqual((made["format"], made["version"], made["type"]), ("fathom.quantize", 1, "Q4_K_M"))
        self.assertEqual(made["bytes_after"], sum(tensor["bytes"] for tensor in made["tensors"]))
        self.assertLessEqual(out.stat().st_size - made["bytes_after"], 64 * 1024)
        types = {tensor["name"]: tensor["to"] for tensor in made["tensors"]}
        self.assertEqual(types["blk.0.attn_q.weight"], "Q4_K")
        self.assertEqual(types["blk.0.attn_norm.weight"], "F32")

    def test_choices(self):
        def types(*flags):
            code, printed, error = run("quantize", GGUF / "qwen2-wide.gguf", "Q4_K_M", "--dry-run", "--json", *flags)
            self.assertEqual(code, 0, error)
            return {tensor["name"]: tensor["to"] for tensor in json.loads(printed)["tensors"]}

        chosen = types("--tensor-type", "ffn_down=q8_0", "--tensor-type", r"blk\.0\.=F16", "--token-embedding-type", "bf16")
        self.assertEqual(chosen["blk.0.ffn_down.weight"], "Q8_0")
        self.assertEqual(chosen["blk.0.attn_v.weight"], "F16")
        self.assertEqual(chosen["token_embd.weight"], "BF16")
        self.assertEqual({kind for kind in types("--pure").values()}, {"F32", "Q4_K"})
        self.assertIn("Q5_K", types("--output-type", "Q5_K").values())

    def test_a_dry_run_writes_nothing(self):
        code, _, error = run("quantize", GGUF / "qwen2-wide.gguf", self.folder / "out.gguf", "Q2_K", "--dry-run")
        self.assertEqual(code, 0)
        self.assertIn("would write", error)
        self.assertEqual(self.files(), [])

    def test_the_name_is_chosen_where_none_is_given(self):
        model = shutil.copy(GGUF / "qwen2.gguf", self.folder / "model.gguf")
        self.assertEqual(run("quantize", model, "Q8_0")[0], 0)
        self.assertEqual(self.files(), ["ggml-model-Q8_0.gguf", "model.gguf"])
        code, _, error = run("quantize", model, self.folder, "Q8_0")
        self.assertEqual(code, 1)
        self.assertIn("expected no file of the name that was chosen for you", error)

    def test_a_quantised_file_is_taken_on_request(self):
        out = self.folder / "out.gguf"
        code, _, error = run("quantize", GGUF / "split" / sorted(os.listdir(GGUF / "split"))[0], out, "F16")
        self.assertEqual(code, 1)
        self.assertIn("is quantised already", error)
        self.assertEqual(self.files(), [])
        code, _, error = run("quantize", GGUF / "split" / sorted(os.listdir(GGUF / "split"))[1], out, "F16",
                             "--allow-requantize")
        self.assertEqual(code, 0, error)
        self.assertEqual(self.files(), ["out.gguf"])

    def test_errors(self):
        model, out = GGUF / "qwen2.gguf", self.folder / "out.gguf"
        for arguments, expected_code, part in (
                ((model, out, "Q9"), 2, "TYPE: expected one of Q4_K_M, "),
                ((model, out), 2, "TYPE: expected one of"),
                ((model, out, "Q8_0", "--tensor-type", "ffn_down"), 2, "expected NAME=TYPE"),
                ((model, out, "Q8_0", "--tensor-type", "nothing=Q8_0"), 2, "found none that may be quantised"),
                ((model, out, "Q8_0", "--output-type", "IQ1_S"), 2, "--output-type: expected one of"),
                ((self.folder / "none.gguf", out, "Q8_0"), 1, "none.gguf"),
                ((model, self.folder / "no" / "out.gguf", "Q8_0"), 1, "out.gguf"),
                ((GOLDEN / "models" / "v3", out, "Q8_0"), 1, "fathom convert makes one"),
                ((model, out, "Q8_0", "--imatrix", model), 1, "expected an importance matrix")):
            with self.subTest(part=part):
                code, _, error = run("quantize", *arguments)
                self.assertEqual(code, expected_code, error)
                self.assertIn(part, error)
                self.assertEqual(len(error.splitlines()), 1, error)
                self.assertEqual(self.files(), [])
        copy = shutil.copy(model, self.folder / "model.gguf")
        code, _, error = run("quantize", copy, copy, "Q8_0")
        self.assertEqual(code, 1)
        self.assertIn("expected another file than the input", error)
        self.assertEqual(copy.read_bytes(), model.read_bytes())

    def test_a_full_disk_is_seen_before_the_work(self):
        sparse = self.folder / "huge.gguf"
        write_sparse_model(sparse, rows=1 << 28)  # 1 TiB of zeros that take no room
        code, _, error = run("quantize", sparse, self.folder / "out.gguf", "F16")
        self.assertEqual(code, 3, error)
        self.assertRegex(error, r"out\.gguf: [\d.e+]+ GB are needed on the disk, [\d.e+-]+ GB are free")
        self.assertEqual(self.files(), ["huge.gguf"])

    def test_what_stops_the_program_leaves_no_file(self):
        sparse = self.folder / "large.gguf"
        write_sparse_model(sparse, rows=1 << 20)  # 4 GiB to read: seconds of work
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with self.subTest(stop=stop.name):
                process = self.start_and_wait(sparse)
                process.send_signal(stop)
                _, error = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 130, error)
                self.assertEqual(self.files(), ["large.gguf"])

    def test_killed_it_leaves_no_target(self):
        sparse = self.folder / "large.gguf"
        write_sparse_model(sparse, rows=1 << 20)
        process = self.start_and_wait(sparse)
        process.kill()
        process.communicate(timeout=60)
        self.assertNotIn("out.gguf", self.files())

    def start_and_wait(self, model):
        """The program at work: its half-written file is there."""
        process = subprocess.Popen([FATHOM, "quantize", model, self.folder / "out.gguf", "Q2_K", "--threads", "1"],
                                   stderr=subprocess.PIPE, text=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))  # not nohup's
        deadline = time.monotonic() + 60
        while not any(".writing" in name for name in self.files()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return process


def write_sparse_model(path, rows):
    """A llama of one matrix [rows, 1024] F32, all zeros, as a hole."""
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 2)
    header += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    header += text("llama.block_count") + struct.pack("<II", 4, 1)
    header += text("blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 1024, rows, 0, 0)
    header += bytes(-len(header) % 32)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + rows * 4096)


@needs_model
class Imatrix(InFolder):
    def setUp(self):
        super().setUp()
        self.text = self.folder / "text.txt"
        self.text.write_text("The quick brown fox jumps over the lazy dog. " * 60)

    def test_makes_a_matrix_and_quantises_with_it(self):
        matrix, out = self.folder / "m.gguf", self.folder / "out.gguf"
        code, printed, error = run("imatrix", MODEL, self.text, "-o", matrix, "--ctx", 64, "--chunks", 2, "--json")
        self.assertEqual(code, 0, error)
        made = json.loads(printed)
        self.assertEqual((made["format"], made["chunks"], made["chunk_size"], made["complete"]),
                         ("fathom.imatrix", 2, 64, True))
        self.assertGreater(made["entries"], 0)
        self.assertIn("2 chunks of 64 tokens", error)
        code, printed, error = run("quantize", MODEL, out, "Q2_K", "--allow-requantize", "--imatrix", matrix, "--json",
                                   "--dry-run")
        self.assertEqual(code, 0, error)
        weighted = [tensor for tensor in json.loads(printed)["tensors"] if tensor["importance"]]
        self.assertGreater(len(weighted), 0)

    def test_a_short_text_is_refused(self):
        code, _, error = run("imatrix", MODEL, self.text, "-o", self.folder / "m.gguf", "--ctx", 4096)
        self.assertEqual(code, 1)
        self.assertIn("expected at least one chunk of 4096 tokens", error)
        self.assertEqual(self.files(), ["text.txt"])


class Help(unittest.TestCase):
    def test_examples(self):
        for command in ("quantize", "imatrix"):
            code, out, _ = run(command, "--help")
            self.assertEqual(code, 0)
            self.assertIn("Example:", out)


if __name__ == "__main__":
    _fathom.harness.main()

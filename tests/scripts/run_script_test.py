"""./run: what it makes of its arguments, and what it installs. Every program that it calls is a stand-in."""
import os
import pathlib
import pty
import shutil
import subprocess
import tempfile
import unittest

import harness

DEFAULT_MODEL = "/models/default.gguf"
SMALL_MODEL_OPTIONS = ["--profile", "exact", "--temperature", "0"]  # the default model's, where nobody gave others
STAND_INS = {
    "cmake": 'mkdir -p build/release/src; printf \'#!/bin/sh\\nfor a; do echo "$a"; done\\n\' > build/release/src/fathom\n'
             "chmod +x build/release/src/fathom",
    "dpkg-query": 'for name; do :; done; grep -qxF "$name" "$INSTALLED" && printf installed',
    "sudo": 'echo "sudo" >> "$CALLS"; "$@"',
    "apt-get": 'echo "apt-get $*" >> "$CALLS"; for name; do echo "$name" >> "$INSTALLED"; done; exit ${APT_STATUS:-0}',
    "id": "echo ${FAKE_UID:-0}",
}


class Run(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name) / "fathom"
        (self.root / "tools").mkdir(parents=True)
        for name in ("run", "tools/setup.sh"):
            shutil.copy(harness.ROOT / name, self.root / name)
        (self.root / "tools" / "fetch_model.py").write_text(f"print('{DEFAULT_MODEL}')\n")
        self.bin = pathlib.Path(folder.name) / "bin"
        self.bin.mkdir()
        for name, text in STAND_INS.items():
            (self.bin / name).write_text("#!/bin/sh\n" + text + "\n")
            (self.bin / name).chmod(0o755)
        self.calls, self.installed = self.bin / "calls", self.bin / "installed"
        self.calls.touch()
        self.installed.touch()

    def run_script(self, *arguments, cwd=None, status=0, **environment):
        """(what fathom was called with, what the person sees)."""
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "CALLS": str(self.calls),
                       "INSTALLED": str(self.installed), **environment}
        result = subprocess.run([str(self.root / "run"), *arguments], cwd=cwd or self.root, env=environment,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        self.assertEqual(status, result.returncode, result.stderr)
        return result.stdout.splitlines(), result.stderr

    def at_a_terminal(self, *arguments):
        """What fathom was called with where standard input and output are a terminal."""
        here, there = pty.openpty()
        environment = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", "CALLS": str(self.calls),
                       "INSTALLED": str(self.installed)}
        result = subprocess.run([str(self.root / "run"), *arguments], cwd=self.root, env=environment, stdin=there,
                                stdout=there, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(0, result.returncode, result.stderr)
        os.close(there)
        seen = b""
        try:
            while block := os.read(here, 65536):
                seen += block
        except OSError:  # a terminal that nobody has open any more
            pass
        os.close(here)
        return seen.decode().split()

    def test_a_terminal_and_no_prompt_start_the_assistant(self):
        self.assertEqual(["serve", DEFAULT_MODEL, "--open", "--profile", "exact"], self.at_a_terminal())
        (self.root / "m.gguf").touch()
        self.assertEqual(["serve", f"{self.root}/m.gguf", "--open", "--port", "0"],
                         self.at_a_terminal("m.gguf", "--", "--port", "0"))
        self.assertEqual("run", self.at_a_terminal("Hello there")[0])

    def test_chat_is_the_terminals_conversation(self):
        self.assertEqual(["chat", DEFAULT_MODEL, *SMALL_MODEL_OPTIONS], self.at_a_terminal("--chat"))
        (self.root / "m.gguf").touch()
        self.assertEqual(["chat", f"{self.root}/m.gguf"], self.run_script("--chat", "m.gguf")[0])
        self.assertIn("expected no prompt", self.run_script("--chat", "Hello there", status=2)[1])

    def test_nothing_given_asks_a_sample_question(self):
        called, seen = self.run_script()
        self.assertEqual(["run", DEFAULT_MODEL, "What is the capital of France?", *SMALL_MODEL_OPTIONS], called)
        self.assertIn("sample question", seen)

    def test_what_is_no_model_is_the_prompt(self):
        for prompt in ("Why is the sky blue?", "1 / 2 is a half", "and/or? which"):
            self.assertEqual(["run", DEFAULT_MODEL, prompt, *SMALL_MODEL_OPTIONS], self.run_script(prompt)[0])

    def test_a_missing_file_is_the_prompt_and_said_to_be(self):
        called, seen = self.run_script("/no/such.gguf")
        self.assertEqual(["run", DEFAULT_MODEL, "/no/such.gguf", *SMALL_MODEL_OPTIONS], called)
        self.assertIn("no file or folder /no/such.gguf", seen)

    def test_file_folder_and_hub_name_are_models(self):
        (self.root / "a file.gguf").touch()
        for model in (str(self.root / "a file.gguf"), str(self.root / "tools"), "deepseek-ai/DeepSeek-R1-0.5B"):
            self.assertEqual(["run", model, "Hello"], self.run_script(model, "Hello")[0])

    def test_a_relative_path_counts_from_the_caller(self):
        (self.bin / "m.gguf").touch()
        self.assertEqual(["run", f"{self.bin}/m.gguf", "Hello"], self.run_script("m.gguf", "Hello", cwd=self.bin)[0])

    def test_options_after_dashes_reach_fathom(self):
        called, _ = self.run_script("Hi there", "--", "--seed", "1")
        self.assertEqual(["run", DEFAULT_MODEL, "Hi there", "--seed", "1"], called)

    def test_wrong_usage_is_2(self):
        self.assertIn("--sed", self.run_script("--sed", status=2)[1])
        self.assertIn("quote the prompt", self.run_script("What", "is", status=2)[1])

    def test_packages_are_named_with_reasons_and_installed_once(self):
        _, seen = self.run_script("Hi there")
        self.assertRegex(seen, r"libsodium-dev +hashes")
        calls = self.calls.read_text().splitlines()
        self.assertEqual(2, len(calls), calls)
        self.assertIn("install -y --no-install-recommends", calls[1])
        self.assertNotIn("gtest", calls[1])
        _, seen = self.run_script("Hi there")
        self.assertEqual(calls, self.calls.read_text().splitlines())
        self.assertNotIn("Installing", seen)

    def test_sudo_is_used_by_others_than_root(self):
        self.run_script("Hi there", FAKE_UID="1000")
        self.assertEqual("sudo", self.calls.read_text().splitlines()[0])

    def test_a_failed_installation_ends_the_run(self):
        self.assertIn("apt-get failed", self.run_script("Hi there", APT_STATUS="100", status=1)[1])


if __name__ == "__main__":
    harness.main()

"""./run as a newcomer without a terminal meets it: the default model, a sample question, an answer, statistics."""
import os
import pathlib
import subprocess
import sys
import unittest

import harness

HOME = harness.ROOT / "build" / "test-home"


class Run(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.environment = {**os.environ, "FATHOM_HOME": str(HOME)}
        fetched = subprocess.run([sys.executable, str(harness.ROOT / "tools" / "fetch_model.py")], env=cls.environment,
                                 capture_output=True, text=True)
        if fetched.returncode != 0:
            raise unittest.SkipTest(f"the default model cannot be had here: {fetched.stderr.strip().splitlines()[-1]}")
        cls.model = pathlib.Path(fetched.stdout.strip())

    def run_script(self, *arguments):
        return subprocess.run([str(harness.ROOT / "run"), *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=400)

    def test_without_arguments(self):
        result = self.run_script()
        self.assertEqual(0, result.returncode, result.stderr)
        self.assertTrue(result.stdout.strip(), "no answer")
        self.assertIn("sample question", result.stderr)
        self.assertRegex(result.stderr, "tokens?", "no statistics")

    def test_with_a_model_and_a_prompt(self):
        result = self.run_script(str(self.model), "Say hello.")
        self.assertEqual(0, result.returncode, result.stderr)
        self.assertTrue(result.stdout.strip(), "no answer")

    def test_a_file_that_is_no_model_is_the_inputs_fault(self):
        result = self.run_script(str(harness.ROOT / "LICENSE"), "Say hello.")
        self.assertEqual(1, result.returncode, result.stderr)
        self.assertIn("LICENSE", result.stderr)


if __name__ == "__main__":
    harness.main()

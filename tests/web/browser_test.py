#!/usr/bin/env python3
"""The page in Chromium against a real server and a small model: the modules beside this one, with node's own runner."""
import os
import re
import subprocess
import unittest

import _web

PATIENCE_S = 900
MODULES = [path.name for path in sorted(_web.HERE.glob("*.mjs")) if not path.name.startswith("_") and path.name != "pictures.mjs"]


class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not _web._fathom.chat_model():
            raise unittest.SkipTest("the page needs a small model that can chat")
        if not _web.chromium():
            raise unittest.SkipTest("the page: chromium is not installed")
        if missing := _web.missing_packages():
            raise unittest.SkipTest(f"the page: {missing}")

    def run_paths(self, module):
        """How many of its tests passed; all must."""
        done = subprocess.run(
            ["node", "--test", "--test-reporter=spec", str(_web.HERE / module)], capture_output=True, text=True, timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "FATHOM_BIN": str(_web._fathom.FATHOM), "FATHOM_MODEL": str(_web._fathom.chat_model()),
                 "FATHOM_CHROMIUM": _web.chromium()})
        self.assertEqual(done.returncode, 0, done.stdout[-9000:] + done.stderr[-2000:])
        return int(re.search(r"pass (\d+)", done.stdout)[1])

    def test_all_modules_are_known(self):
        self.assertEqual(MODULES, ["browser.mjs", "insight.mjs", "login.mjs", "models.mjs"])

    def test_the_page(self):
        self.assertGreater(self.run_paths("browser.mjs"), 10)

    def test_insight(self):
        self.assertGreaterEqual(self.run_paths("insight.mjs"), 1)

    def test_login(self):
        self.assertGreaterEqual(self.run_paths("login.mjs"), 1)

    def test_models(self):
        self.assertGreaterEqual(self.run_paths("models.mjs"), 4)


if __name__ == "__main__":
    _web._fathom.harness.main()

#!/usr/bin/env python3
"""The page in Chromium against a real server and a small model: browser.mjs and the other paths beside it, with node's
own runner, one file after the other."""
import os
import re
import subprocess
import unittest

import _web

PATIENCE_S = 900
PATHS = [str(path) for path in sorted(_web.HERE.glob("*.mjs")) if not path.name.startswith("_") and path.name != "pictures.mjs"]


class Browser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not _web._fathom.chat_model():
            raise unittest.SkipTest("the page needs a small model that can chat")
        if not _web.chromium():
            raise unittest.SkipTest("the page: chromium is not installed")
        if missing := _web.missing_packages():
            raise unittest.SkipTest(f"the page: {missing}")

    def test_the_page(self):
        done = subprocess.run(
            ["node", "--test", "--test-concurrency=1", "--test-reporter=spec", *PATHS], capture_output=True, text=True, timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "FATHOM_BIN": str(_web._fathom.FATHOM), "FATHOM_MODEL": str(_web._fathom.chat_model()),
                 "FATHOM_CHROMIUM": _web.chromium()})
        self.assertEqual(done.returncode, 0, done.stdout[-9000:] + done.stderr[-2000:])
        self.assertGreater(int(re.search(r"pass (\d+)", done.stdout)[1]), 10)


if __name__ == "__main__":
    _web._fathom.harness.main()

#!/usr/bin/env python3
"""The page of a server with keys, in Chromium: login.mjs, with node's own runner."""
import os
import subprocess
import unittest

import _web

PATIENCE_S = 900


class Login(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not _web._fathom.chat_model():
            raise unittest.SkipTest("the page needs a small model that can chat")
        if not _web.chromium():
            raise unittest.SkipTest("the page: chromium is not installed")
        if missing := _web.missing_packages():
            raise unittest.SkipTest(f"the page: {missing}")

    def test_the_login(self):
        done = subprocess.run(
            ["node", "--test", "--test-reporter=spec", str(_web.HERE / "login.mjs")], capture_output=True, text=True, timeout=PATIENCE_S,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "FATHOM_BIN": str(_web._fathom.FATHOM), "FATHOM_MODEL": str(_web._fathom.chat_model()),
                 "FATHOM_CHROMIUM": _web.chromium()})
        self.assertEqual(done.returncode, 0, done.stdout[-9000:] + done.stderr[-2000:])


if __name__ == "__main__":
    _web._fathom.harness.main()

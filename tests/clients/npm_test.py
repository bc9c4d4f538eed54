#!/usr/bin/env python3
"""The clients from npm: each .mjs file is a test for node's own runner, against a server that is started here."""
import os
import re
import shutil
import subprocess
import unittest

import _clients
from _clients import HERE, install


class Npm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not _clients._fathom.chat_model():
            raise unittest.SkipTest("the server's clients need a small model that can chat")
        if failed := install.install_node():
            raise unittest.SkipTest(f"the server's clients from npm: {failed}")
        cls.server = _clients.start("--max-requests", "8")
        cls.addClassCleanup(cls.server.close)

    def run_file(self, name):
        # node looks for packages beside the file.
        file = shutil.copy(HERE / name, install.CLIENTS / name)
        done = subprocess.run(["node", file], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
                              env={**os.environ, "FATHOM_URL": self.server.url})
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        self.assertGreater(int(re.search(r"^. pass (\d+)$", done.stdout, flags=re.M)[1]), 5)

    def test_openai(self):
        self.run_file("openai.mjs")

    def test_ai_sdk(self):
        self.run_file("ai_sdk.mjs")


if __name__ == "__main__":
    _clients.main()

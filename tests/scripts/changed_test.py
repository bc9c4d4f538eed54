"""tools/changed.py: which folders ./test quick takes for which change."""
import pathlib
import subprocess
import tempfile
import unittest

import harness
import changed

LINKS = """fathom_library(base)
fathom_library(text DEPS base)
fathom_library(ops DEPS base)
fathom_library(engine DEPS text ops)
"""


class Changed(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.git("init", "-q", "-b", "main")
        self.commit("src/CMakeLists.txt", LINKS)

    def git(self, *arguments):
        subprocess.run(["git", "-C", str(self.root), "-c", "user.name=t", "-c", "user.email=t@t", *arguments], check=True)

    def write(self, name, text="\n"):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def commit(self, name, text="\n"):
        self.write(name, text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", name)

    def test_one_commit_means_everything(self):
        self.assertEqual((["base", "text", "ops", "engine"], [], None), changed.needed(self.root))

    def test_last_commit_working_tree_and_new_files_count(self):
        self.commit("README.md")
        self.commit("src/text/a.cc")
        self.assertEqual((["text"], ["engine"], ["src/text/a.cc"]), changed.needed(self.root))
        self.write("src/ops/b.cc")
        self.write("src/text/a.cc", "x\n")
        self.assertEqual((["text", "ops"], ["engine"]), changed.needed(self.root)[:2])

    def test_a_branch_is_compared_with_where_it_left_main(self):
        self.commit("README.md")
        self.git("checkout", "-q", "-b", "work")
        self.commit("src/text/a.cc")
        self.commit("src/engine/b.cc")
        self.assertEqual((["text", "engine"], []), changed.needed(self.root)[:2])

    def test_the_build_concerns_all(self):
        self.commit("README.md")
        self.commit("cmake/fathom.cmake")
        self.assertEqual(4, len(changed.needed(self.root)[0]))

    def test_documents_concern_no_folder(self):
        self.commit("docs/a.md")
        self.assertEqual(([], [], ["docs/a.md"]), changed.needed(self.root))


if __name__ == "__main__":
    harness.main()

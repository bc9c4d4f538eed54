"""tools/check_layers.py finds what breaks the layout, and nothing else."""
import pathlib
import tempfile
import unittest

import harness
import check_layers

LINKS = """# a comment (with brackets)
fathom_library(base)
fathom_library(text DEPS base LINK some::thing)
fathom_library(models DEPS base)
fathom_library(engine DEPS base text models)
fathom_library(cli DEPS base text engine)
"""


class Layers(unittest.TestCase):
    def found(self, files, links=LINKS):
        """The violations in a tree of `files` {path below src: text}."""
        with tempfile.TemporaryDirectory() as folder:
            src = pathlib.Path(folder) / "src"
            for name, text in {"CMakeLists.txt": links, **files}.items():
                (src / name).parent.mkdir(parents=True, exist_ok=True)
                (src / name).write_text(text)
            return check_layers.violations(pathlib.Path(folder))

    def test_downward_and_own_includes_pass(self):
        files = {
            "base/a.h": "#include <vector>\n",
            "text/b.cc": '#include "base/a.h"\n#include "text/c.h"\n// #include "cli/x.h"\n',
            "cli/deep/d.cc": '#include "engine/e.h"\n',
            "text/b_test.cc": '#include "tests/testing.h"\n',
            "text/b_testing.h": '#include "tests/testing.h"\n',
        }
        self.assertEqual([], self.found(files))

    def test_upward_include_is_named_with_its_line(self):
        self.assertEqual(
            ["src/base/a.h:2: base/ (level 0) must not see engine/ (level 6)"],
            self.found({"base/a.h": '#pragma once\n  #  include "engine/e.h"\n'}),
        )

    def test_same_level_is_forbidden(self):
        self.assertEqual(1, len(self.found({"text/a.h": '#include "tensor/t.h"\n'})))

    def test_cli_sees_models_through_engine_only(self):
        self.assertEqual(
            ["src/cli/a.cc:1: cli/ sees models/ only through engine/"],
            self.found({"cli/a.cc": '#include "models/llama.h"\n'}),
        )

    def test_include_without_link_is_found(self):
        files = {"engine/a.cc": '#include "sampling/s.h"\n'}
        self.assertIn("not among the DEPS of engine", self.found(files)[0])

    def test_link_upwards_is_found(self):
        self.assertIn("DEPS of base", self.found({}, "fathom_library(base DEPS\n  text)\n")[0])

    def test_unknown_folders_and_includes_without_folder_are_found(self):
        self.assertIn("has no level", self.found({"misc/a.h": "\n"})[0])
        self.assertIn("expected FOLDER/FILE", self.found({"base/a.h": '#include "b.h"\n'})[0])
        self.assertEqual(1, len(self.found({"base/a.cc": '#include "tests/testing.h"\n'})))

    def test_this_tree_keeps_its_layers(self):
        self.assertEqual([], check_layers.violations(harness.ROOT))


if __name__ == "__main__":
    harness.main()

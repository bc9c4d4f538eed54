#!/usr/bin/env python3
"""fathom report: the table, the page, --json, and what is refused."""
import json
import pathlib
import shutil
import tempfile
import unittest
from html.parser import HTMLParser

import _fathom
from _fathom import run

RECIPE = "name = {name}\n[model]\nstart = 'OWNER/NAME'\n[data]\ntrain = ['a.txt']\n[optimizer]\nlearning_rate = {rate}\n"


class Page(HTMLParser):
    """Whether every element is closed, and what is in the page."""
    EMPTY = {"meta"}

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def make(self, name, rate):
        path = self.folder / name
        path.mkdir()
        (path / "recipe.toml").write_text(RECIPE.format(name=json.dumps(name), rate=rate))
        lines = [{"format": "fathom.metrics", "version": 1}]
        lines += [{"step": step, "loss": 4 / step, "validation_loss": 2 / step, "tokens": 64 * step, "seconds": step}
                  for step in range(1, 5)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (path / "metrics.jsonl").write_text(text + '{"step":5,"lo')  # it still trains
        return path

    def test_one_run(self):
        path = self.make("cold", 1e-3)
        code, out, error = run("report", path)
        self.assertEqual((code, error), (0, f"wrote {path / 'report.html'}\n"))
        self.assertEqual([line.split() for line in out.splitlines()[1:]],
                         [["cold", "pretrain", "4", "2.083", "0.5", "4", "256", "64", "0:00:04"]])
        page = Page((path / "report.html").read_text())
        self.assertEqual((page.open, page.seen.count("svg")), ([], 1))

    def test_several_runs(self):
        paths = [self.make("cold", 1e-3), self.make("hot\x1b[31m", 3e-3)]
        code, out, _ = run("report", *paths, cwd=self.folder)
        self.assertEqual(code, 0)
        self.assertNotIn("\x1b", out)
        self.assertIn("optimizer.learning_rate", (self.folder / "report.html").read_text())
        code, out, error = run("report", *paths, "--json", "--out", self.folder / "both.html")
        answer = json.loads(out)
        self.assertEqual((code, error, answer["format"], answer["version"]), (0, "", "fathom.report", 1))
        self.assertEqual([(r["name"], r["step"], r["validation_loss"], r["reward"]) for r in answer["runs"]],
                         [("cold", 4, 0.5, None), ("hot\x1b[31m", 4, 0.5, None)])
        self.assertEqual(Page((self.folder / "both.html").read_text()).open, [])

    def test_refusals(self):
        self.assertEqual(run("report")[0], 2)
        code, out, error = run("report", self.folder)
        self.assertEqual((code, out), (1, ""))
        self.assertIn("expected the folder of a run, found no recipe.toml in it", error)
        path = self.make("cold", 1e-3)
        (path / "metrics.jsonl").write_text('{"format":"fathom.metrics","version":2}\n')
        code, _, error = run("report", path)
        self.assertEqual(code, 1)
        self.assertIn("metrics.jsonl:1: expected format fathom.metrics version 1, found fathom.metrics version 2", error)
        self.assertFalse((path / "report.html").exists())


if __name__ == "__main__":
    _fathom.harness.main()

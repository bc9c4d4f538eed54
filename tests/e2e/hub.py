#!/usr/bin/env python3
"""fathom pull, list and rm against a real HTTP server on loopback: the whole way, and everything that can break on it."""
import json
import unittest

import _fathom
from _fathom import GOLDEN
from _hub_home import NAME, TAKEN, Home, content, folder_model


class Whole(Home):
    def test_a_folder_of_safetensors(self):
        files = folder_model()
        hub = self.hub(files)
        code, out, err = self.pull(hub, NAME, "--json")
        self.assertEqual(code, 0, err)
        result = json.loads(out)
        self.assertEqual({f["path"] for f in result["files"]}, TAKEN)
        self.assertEqual(result["received_bytes"], sum(len(files[path]) for path in TAKEN))
        self.assertIn("pickle", err)
        record = self.assert_files({path: files[path] for path in TAKEN})
        self.assertEqual((record["endpoint"], record["repository"], record["revision"], record["commit"]),
                         (hub.url, NAME, "main", "c0ffee" + "0" * 34))
        model = self.listed()[NAME, "complete"]
        self.assertEqual((model["type"], model["commit"]), ("safetensors", record["commit"]))
        self.assertEqual(model["size"], sum(p.stat().st_size for p in (self.models / NAME).rglob("*") if p.is_file()))

    def test_a_second_pull_brings_nothing(self):
        hub = self.hub(folder_model())
        self.pulled(hub)
        before = len(hub.asked("resolve"))
        code, out, err = self.pull(hub)
        self.assertEqual(code, 0, err)
        self.assertIn("here already", out)
        self.assertEqual(len(hub.asked("resolve")), before)

    def test_all(self):
        files = folder_model()
        self.pulled(self.hub(files), NAME, "--all")
        self.assert_files(files)

    def test_one_file_joins_a_folder(self):
        files = {**folder_model(), "extra/x.gguf": content(5000, 7)}
        hub = self.hub(files)
        self.assertIn("GGUF", self.pulled(hub))
        self.pulled(hub, f"{NAME}:extra/x.gguf")
        self.assert_files({path: files[path] for path in TAKEN | {"extra/x.gguf"}})

    def test_a_new_commit_replaces_what_changed(self):
        hub = self.hub(folder_model(), revisions=("main", "v1"))
        self.pulled(hub, NAME, "--revision", "v1")
        repository = hub.repositories[NAME]
        repository.files = {**folder_model(), "config.json": b'{"model_type": "qwen2"}'}
        repository.commit = "d" * 40
        before = len(hub.asked("resolve"))
        self.pulled(hub)
        self.assertEqual(len(hub.asked("resolve")), before + 1)
        record = self.assert_files({path: repository.files[path] for path in TAKEN})
        self.assertEqual((record["commit"], record["revision"]), ("d" * 40, "main"))

    def test_pages(self):
        files = {**folder_model(), **{f"figures/{i}.png": b"png" for i in range(60)}}
        hub = self.hub(files)
        hub.page_size = 7
        self.pulled(hub)
        self.assertEqual(sum("/tree/" in request.path for request in hub.asked("api")), -(-len(hub.repositories[NAME].entries()) // 7))
        self.assert_files({path: files[path] for path in TAKEN})

    def test_names_with_spaces_and_umlauts(self):
        files = {"model ü #1.safetensors": content(1000, 1), "config.json": b"{}", "Lizenz?.json": b"{}"}
        self.pulled(self.hub(files))
        self.assert_files(files)

    def test_ipv6(self):
        try:
            hub = self.hub(folder_model(), host="::1")
        except OSError:
            self.skipTest("needs IPv6 on loopback")
        self.pulled(hub)

    def test_run_finds_the_pulled_model(self):
        golden = GOLDEN / "models" / "qwen2"
        files = {path.name: path.read_bytes() for path in golden.iterdir() if path.suffix in (".json", ".safetensors")}
        if "model.safetensors" not in files:
            self.skipTest("needs tests/golden/models/qwen2")
        self.pulled(self.hub(files))
        (self.home / "ids.json").write_text("[[1, 2, 3]]")
        code, out, err = self.run_fathom(None, "logits", NAME, "--ids", self.home / "ids.json", "--out",
                                         self.home / "x.safetensors")
        self.assertEqual(code, 0, out + err)


class Choosing(Home):
    GGUF = {"x-Q4_K_M.gguf": content(4000, 1), "x-Q8_0.gguf": content(8000, 2), "mmproj-x-f16.gguf": b"m",
            "big/x-BF16-00001-of-00002.gguf": content(900, 3), "big/x-BF16-00002-of-00002.gguf": content(901, 4),
            "config.json": b"{}", "README.md": b"r"}

    def test_many_gguf_files_must_be_named(self):
        code, _, err = self.pull(self.hub(self.GGUF))
        self.assertEqual(code, 2)
        for text in ("x-Q4_K_M.gguf  4.00 kB", "x-Q8_0.gguf  8.00 kB", "big/x-BF16-00001-of-00002.gguf  1.80 kB in 2 parts"):
            self.assertIn(text, err)
        self.assertNotIn("mmproj", err)
        self.assertFalse(self.models.exists())

    def test_by_quantisation_by_file_by_part(self):
        hub = self.hub(self.GGUF)
        self.pulled(hub, f"{NAME}:q4_k_m")
        self.assert_files({"x-Q4_K_M.gguf": self.GGUF["x-Q4_K_M.gguf"]})
        self.pulled(hub, f"{NAME}:big/x-BF16-00002-of-00002.gguf")
        self.pulled(hub, f"{NAME}:x-Q8_0.gguf")
        self.assert_files({path: data for path, data in self.GGUF.items() if path.startswith(("x-", "big"))})
        for wanted, code in (("Q4_K", 1), ("Q5_0", 1), ("nothing.txt", 1), ("x", 2)):
            self.assertEqual(self.pull(hub, f"{NAME}:{wanted}")[0], code, wanted)

    def test_a_single_gguf_file(self):
        files = {"x.gguf": content(100, 1), "README.md": b"r", "config.json": b"{}"}
        self.pulled(self.hub(files))
        self.assert_files({"x.gguf": files["x.gguf"], "README.md": b"r"})

    def test_a_missing_part(self):
        files = dict(self.GGUF)
        del files["big/x-BF16-00001-of-00002.gguf"]
        hub = self.hub(files)
        code, _, err = self.pull(hub, f"{NAME}:BF16")
        self.assertEqual(code, 1)
        self.assertIn("expected 2 parts, found 1", err)
        self.pulled(hub, f"{NAME}:Q8_0")

    def test_pickles_only(self):
        code, _, err = self.pull(self.hub({"pytorch_model.bin": b"p", "config.json": b"{}"}))
        self.assertEqual(code, 1)
        self.assertIn("pickle", err)

    def test_names_that_are_none(self):
        hub = self.hub(folder_model())
        for name in ("tiny", "acme/", "/acme/tiny", "acme/tiny/more", "../tiny", "acme/..", "acme/.tiny.pulling", "acme/tiny:",
                     "acme/tiny:../x", "acme/tiny:/etc/passwd", "a b/c", "acme/tiny?x=1", "", "acme/ti%2e"):
            code, _, err = self.pull(hub, name)
            self.assertEqual(code, 2, name + err)
        self.assertEqual(self.pull(hub, NAME, "--revision", "../../other/name")[0], 2)
        self.assertEqual(hub.requests, [])


if __name__ == "__main__":
    _fathom.harness.main()

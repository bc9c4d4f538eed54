#!/usr/bin/env python3
"""The app's models: what they need of memory, pulls from a hub, removal. The hub is the stand-in of the pull's tests."""
import os
import pathlib
import re
import shutil
import tempfile
import unittest

import _fathom
from _app import App
from _hub_home import NO_TOKEN, content
from _hub_server import Cut, Hub, Reply, Repository, sha256
from _server import wait_until

NAME, MIB = "acme/tiny", 1 << 20


class Models(unittest.TestCase):
    """Each test has its own models folder, hub and server."""
    more = ()

    def setUp(self):
        self.model = _fathom.chat_model()
        if not self.model:
            raise unittest.SkipTest("fathom serve needs a small model that can chat")
        self.home = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        self.models = self.home / "models"

    def hub(self, files, name=NAME, **options):
        hub = Hub({name: Repository(files, **options)})
        self.addCleanup(hub.close)
        return hub

    def serve(self, hub=None, *arguments):
        """A server that asks this hub, with the model loaded only when it is needed."""
        old = {name: os.environ.pop(name) for name in NO_TOKEN if name in os.environ}
        home, _fathom.FATHOM_HOME = _fathom.FATHOM_HOME, str(self.home)
        os.environ |= {"HF_ENDPOINT": hub.url if hub else "http://127.0.0.1:9", "NO_PROXY": "*", "no_proxy": "*"}
        try:
            app = App(self.model, "--ctx", "512", "--store", "none", "--lazy", *arguments, *self.more)
        finally:
            _fathom.FATHOM_HOME = home
            del os.environ["HF_ENDPOINT"]
            os.environ |= old
        self.addCleanup(app.close)
        return app

    def begin(self, app, repository=NAME, status=201, **fields):
        return app.call("POST", "models/pulls", {"repository": repository, **fields}, status=status)

    def pull_now(self, app, pull):
        return next((p for p in app.call("GET", "models/pulls")["pulls"] if p["id"] == pull["id"]), None)

    def ended(self, app, pull):
        """How a pull is once it does not run any more."""
        wait_until(lambda: self.pull_now(app, pull)["state"] != "running", "the end of a pull")
        return self.pull_now(app, pull)

    def listed(self, app):
        return {m["name"]: m for m in app.call("GET", "state")["models"]}

    def hanging(self, hub, after=100_000):
        """The first large file comes up to there and no further."""
        hub.fault = lambda r: Cut(after, hang=True) if r.kind == "store" else None

    def test_pull_then_chat_then_remove(self):
        weights = self.model.read_bytes()
        hub = self.hub({"x-Q4_1.gguf": weights, "README.md": b"r"})
        app = self.serve(hub)
        with app.follow("events") as events:
            self.assertEqual(next(events)[1]["type"], "hello")
            pull = self.begin(app)
            self.assertEqual((pull["repository"], pull["state"]), (NAME, "running"))
            done = self.ended(app, pull)
            self.assertEqual((done["state"], done["error"], done["model"]), ("done", None, "acme/tiny:Q4_1"), done)
            self.assertEqual((done["done_bytes"], done["total_bytes"]), (len(weights) + 1, len(weights) + 1))
            self.assertIn("models", [next(events)[1]["type"] for _ in range(2)])
        self.assertEqual(sha256((self.models / NAME / "x-Q4_1.gguf").read_bytes()), sha256(weights))
        model = self.listed(app)[done["model"]]
        self.assertEqual((model["loaded"], model["removable"], model["size_bytes"]), (False, True, len(weights)))
        memory = model["memory"]
        self.assertEqual((memory["ctx"], memory["fits"]), (512, "now"))
        self.assertGreater(memory["need_bytes"], memory["weights_bytes"])
        self.assertGreaterEqual(memory["weights_bytes"], 0.9 * len(weights))
        reply = app.chat("Say hello.", model=done["model"], max_tokens=8)
        self.assertEqual(reply.status, 200, reply.body)
        self.assertEqual(reply.json()["usage"]["completion_tokens"], 8)
        refused = app.call("DELETE", "models?name=acme/tiny:Q4_1", status=409)
        self.assertIn("in memory", refused["error"]["message"])
        self.assertEqual(app.post("/models/unload", {"model": done["model"]}).status, 200)
        self.assertGreaterEqual(app.call("DELETE", "models?name=acme/tiny:Q4_1")["freed_bytes"], len(weights))
        self.assertNotIn(done["model"], self.listed(app))
        self.assertFalse((self.models / "acme").exists())
        app.call("DELETE", "models?name=acme/tiny:Q4_1", status=404)
        self.assertEqual(app.chat("Hi", model=done["model"]).status, 404)
        # And it can come back.
        self.assertEqual(self.ended(app, self.begin(app))["state"], "done")
        self.assertIn(done["model"], self.listed(app))

    def test_what_is_installed_is_served_after_a_restart(self):
        hub = self.hub({"x-Q4_1.gguf": self.model.read_bytes()})
        app = self.serve(hub)
        name = self.ended(app, self.begin(app))["model"]
        app.close()
        again = self.serve(hub)
        self.assertIn(name, self.listed(again))
        self.assertTrue(any("1 installed model" in line for line in again.log), again.log)
        self.assertNotIn(name, self.listed(self.serve(hub, "--pulls", "off")))

    def test_cancel_and_go_on(self):
        files = {"x.gguf": content(3 * MIB, 1)}
        hub = self.hub(files)
        self.hanging(hub)
        app = self.serve(hub)
        pull = self.begin(app)
        wait_until(lambda: self.pull_now(app, pull)["done_bytes"] >= 100_000, "the first bytes")
        self.assertEqual(self.begin(app, status=200)["id"], pull["id"], "the same, already running")
        app.call("DELETE", f"models/pulls/{pull['id']}")
        self.assertEqual(self.ended(app, pull)["state"], "cancelled")
        hub.fault = None
        hub.go_on.set()
        before = len(hub.asked("store"))
        again = self.ended(app, self.begin(app))
        self.assertEqual(again["state"], "done", again)
        self.assertEqual((self.models / NAME / "x.gguf").read_bytes(), files["x.gguf"])
        asked = [r.range for r in hub.asked("store")[before:]]
        self.assertTrue(asked and all(r and r[0] > 0 for r in asked[:1]), asked)
        self.assertIsNone(self.pull_now(app, pull), "one more of the same takes its place")
        app.call("DELETE", f"models/pulls/{again['id']}")
        self.assertEqual(app.call("GET", "models/pulls")["pulls"], [])
        app.call("DELETE", f"models/pulls/{again['id']}", status=404)

    def test_several_files_are_offered(self):
        files = {"x-Q4_K_M.gguf": content(4000, 1), "x-Q8_0.gguf": content(8000, 2), "mmproj-x-f16.gguf": b"m",
                 "big/x-BF16-00001-of-00002.gguf": content(900, 3), "big/x-BF16-00002-of-00002.gguf": content(901, 4)}
        app = self.serve(self.hub(files))
        asked = self.ended(app, self.begin(app))
        self.assertEqual(asked["state"], "choose")
        self.assertEqual({f["name"]: (f["file"], f["size_bytes"], f["parts"]) for f in asked["files"]},
                         {"Q4_K_M": ("x-Q4_K_M.gguf", 4000, 1), "Q8_0": ("x-Q8_0.gguf", 8000, 1),
                          "BF16": ("big/x-BF16-00001-of-00002.gguf", 1801, 2)})
        self.assertFalse(self.models.exists())
        names = [self.ended(app, self.begin(app, **how))["model"] for how in (
            {"file": "x-Q4_K_M.gguf"}, {"repository": f"{NAME}:Q8_0"}, {"file": "big/x-BF16-00001-of-00002.gguf"})]
        self.assertEqual(names, [f"{NAME}:Q4_K_M", f"{NAME}:Q8_0", f"{NAME}:BF16"])
        self.assertIn("problem", self.listed(app)[names[0]]["memory"], "it is no model")
        # One of several goes alone.
        app.call("DELETE", f"models?name={NAME}:BF16")
        self.assertEqual(sorted(p.name for p in (self.models / NAME).iterdir()), [".fathom", "x-Q4_K_M.gguf", "x-Q8_0.gguf"])
        self.assertEqual(self.ended(app, self.begin(app, file="big/x-BF16-00002-of-00002.gguf"))["model"], f"{NAME}:BF16")
        for name in names:
            app.call("DELETE", f"models?name={name}")
        self.assertFalse((self.models / "acme").exists())
        gone = self.ended(app, self.begin(app, repository=f"{NAME}:Q5_0"))
        self.assertEqual(gone["state"], "failed")
        self.assertIn("no file fits 'Q5_0'", gone["error"])

    def test_failures_are_in_the_hubs_words(self):
        hub = self.hub({"x.gguf": content(1000, 1)})
        app = self.serve(hub)
        unknown = self.ended(app, self.begin(app, repository="acme/none"))
        self.assertEqual(unknown["state"], "failed")
        self.assertIn("acme/none", unknown["error"])
        right = hub.repositories[NAME].files["x.gguf"]
        hub.repositories[NAME].listed["x.gguf"] = {**hub.repositories[NAME].entry("x.gguf")}
        hub.repositories[NAME].listed["x.gguf"]["lfs"] = {**hub.repositories[NAME].listed["x.gguf"]["lfs"], "oid": "0" * 64}
        wrong = self.ended(app, self.begin(app))
        self.assertEqual(wrong["state"], "failed")
        self.assertRegex(wrong["error"], r"sha256|X-Linked|expected")
        self.assertFalse((self.models / NAME).exists())
        hub.repositories[NAME].listed.clear()
        self.assertEqual(self.ended(app, self.begin(app))["state"], "done")
        self.assertEqual((self.models / NAME / "x.gguf").read_bytes(), right)

    def test_a_hub_that_is_away(self):
        app = self.serve(None)
        pull = self.begin(app)
        wait_until(lambda: self.pull_now(app, pull)["notices"], "a notice of the retry")
        self.assertEqual(self.pull_now(app, pull)["state"], "running")
        app.call("DELETE", f"models/pulls/{pull['id']}")
        self.assertEqual(self.ended(app, pull)["state"], "cancelled")

    def test_hostile_names_and_bodies(self):
        app = self.serve(self.hub({"x.gguf": content(100, 1)}))
        for body in ({}, {"repository": ""}, {"repository": "x"}, {"repository": "../x"}, {"repository": "a/.."},
                     {"repository": "a/b/c"}, {"repository": "-a/b"}, {"repository": "a/b:"}, {"repository": "a/b:../../x"},
                     {"repository": "a/b", "file": "/etc/passwd"}, {"repository": "a/b", "file": "../x"},
                     {"repository": "a/b:c", "file": "d"}, {"repository": "a/b", "file": "x\n"}, {"repository": 7},
                     {"repository": "a/b", "url": "http://x"}, {"repository": "http://127.0.0.1/a"}, {"repository": "a\x00/b"},
                     {"repository": "a/" + "b" * 5000}, []):
            error = app.call("POST", "models/pulls", body, status=400)["error"]
            self.assertLess(len(error["message"]), 3000, body)
        self.assertEqual(app.call("GET", "models/pulls")["pulls"], [])
        (self.home / "kept.gguf").write_bytes(b"GGUF")
        for name in ("", "../kept.gguf", "..", ".", "/etc/passwd", "acme", "acme/none", "%2e%2e/kept.gguf"):
            app.call("DELETE", f"models?name={name}", status=400 if not name else 404)
        self.assertTrue((self.home / "kept.gguf").exists())
        served = self.listed(app)
        for name in served:
            self.assertFalse(served[name]["removable"], name)
            app.call("DELETE", f"models?name={name}", status=404)

    def test_who_may_pull(self):
        app = self.serve(self.hub({"x.gguf": content(100, 1)}))
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
            app.call("POST", "models/pulls", {"repository": NAME}, status=403, **headers)
            app.call("DELETE", f"models?name={NAME}", status=403, **headers)
        plain = app.request("POST", "/app/api/models/pulls", {"repository": NAME}, {"Content-Type": "text/plain"})
        self.assertEqual(plain.status, 415)
        for off in (("--pulls", "off"), ("--allowed-hosts", "fathom.example"), ("--host", "0.0.0.0")):
            if off[0] == "--host":
                continue  # the test's server is found on loopback only
            other = self.serve(None, *off)
            self.assertFalse(other.call("GET", "state")["pulls"])
            for method, path in (("POST", "models/pulls"), ("GET", "models/pulls"), ("GET", "models/recommended"),
                                 ("DELETE", "models/pulls/x"), ("DELETE", "models?name=x")):
                body = {"repository": NAME} if method == "POST" else None
                self.assertIn("--pulls", other.call(method, path, body, status=403)["error"]["message"])
        self.assertTrue(self.serve(None, "--allowed-hosts", "fathom.example", "--pulls", "on").call("GET", "state")["pulls"])

    def test_at_most_a_few_at_once(self):
        files = {"x.gguf": content(MIB, 1)}
        hub = Hub({f"acme/m{i}": Repository(files) for i in range(5)})
        self.addCleanup(hub.close)
        self.hanging(hub)
        app = self.serve(hub)
        pulls = [self.begin(app, repository=f"acme/m{i}") for i in range(3)]
        error = self.begin(app, repository="acme/m3", status=429)["error"]
        self.assertIn("at most 3", error["message"])
        app.call("DELETE", f"models/pulls/{pulls[0]['id']}")
        self.ended(app, pulls[0])
        self.begin(app, repository="acme/m4")
        self.assertEqual(len(app.call("GET", "models/pulls")["pulls"]), 4)

    def test_a_server_that_is_stopped_in_mid_pull(self):
        files = {"x.gguf": content(2 * MIB, 1)}
        hub = self.hub(files)
        self.hanging(hub)
        app = self.serve(hub)
        pull = self.begin(app)
        wait_until(lambda: self.pull_now(app, pull)["done_bytes"] >= 100_000, "the first bytes")
        app.terminate()
        self.assertEqual(app.exit_code(), 0, "it does not wait for the hub")
        self.assertTrue(list((self.models / "acme" / ".tiny.pulling").rglob("*.part")))
        hub.fault = None
        hub.go_on.set()
        again = self.serve(hub)
        self.assertNotIn(NAME, str(list(self.listed(again))))
        self.assertEqual(self.ended(again, self.begin(again))["state"], "done")
        self.assertEqual((self.models / NAME / "x.gguf").read_bytes(), files["x.gguf"])

    def test_recommended(self):
        app = self.serve(self.hub({"x.gguf": content(100, 1)}))
        found = app.call("GET", "models/recommended")
        models, room = found["models"], found["memory"]
        self.assertEqual([m["size_bytes"] for m in models], sorted(m["size_bytes"] for m in models))
        for m in models:
            self.assertRegex(m["repository"], r"^[\w.-]+/[\w.-]+-GGUF$")
            self.assertTrue(m["size_bytes"] < m["memory_bytes"] < 1.5 * m["size_bytes"] + 500 * MIB, m)
            self.assertTrue(re.search(r"\w.*\.$", m["good_at"]) and m["licence"], m)
            fits = m["memory_bytes"] <= room["free_bytes"] + room["reclaimable_bytes"]
            self.assertEqual(m["fits"] == "no_memory", not fits, m)
        self.assertLessEqual(sum(m["best"] for m in models), 1)
        self.assertIsNone(models[0]["model"])


if __name__ == "__main__":
    _fathom.harness.main()

#!/usr/bin/env python3
"""Pulls that are killed, stopped, doubled, or out of room; and what list, rm and MODEL make of what is on the disk."""
import json
import resource
import shutil
import signal
import unittest

import _fathom
from _fathom import SmallDisk, Terminal
from _hub_home import MIB, NAME, TAKEN, Home, content, folder_model
from _hub_server import Cut

GGUF = content(300_000, 21)


class Stopped(Home):
    def hanging_pull(self, hub, after=100_000, **options):
        """A pull that has received so many bytes of its first large file and waits for more."""
        hub.fault = lambda request: Cut(after, hang=True) if request.kind == "store" and request.number == 0 else None
        process = self.start(hub, "pull", NAME, **options)
        self.assertTrue(hub.hanging.acquire(timeout=60))
        # What the server has sent is on the disk when the state says so (once a second) or the file has grown.
        part = self.models / "acme" / ".tiny.pulling" / "parts" / "x.gguf.part"
        while after and not (part.exists() and part.stat().st_size >= after):
            self.assertIsNone(process.poll())
        return process

    def assert_partial(self):
        self.assertEqual(list(self.listed()), [(NAME, "partial")])
        code, _, err = self.run_fathom(None, "run", NAME, "hi")
        self.assertEqual(code, 1)
        self.assertIn(f"unfinished pull; `fathom pull {NAME}`", err)
        code, _, err = self.run_fathom(None, "run", "no/such", "hi")
        self.assertIn("no model is in", err)

    def test_kill_9_then_go_on(self):
        hub = self.hub({"x.gguf": GGUF, "README.md": b"r"})
        process = self.hanging_pull(hub)
        self.assertTrue(self.listed()[NAME, "partial"]["running"])
        process.kill()
        self.assertEqual(process.wait(), -signal.SIGKILL)
        self.assertFalse(self.listed()[NAME, "partial"]["running"])
        self.assert_partial()
        hub.fault = None
        self.pulled(hub)
        self.assert_files({"x.gguf": GGUF, "README.md": b"r"})

    def test_ctrl_c_keeps_what_came(self):
        hub = self.hub({"x.gguf": GGUF})
        process = self.hanging_pull(hub)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(err, "fathom: interrupted\n")
        self.assert_partial()
        self.assertEqual(self.listed()[NAME, "partial"]["size"], 100_000)
        self.assertEqual(self.listed()[NAME, "partial"]["total_size"], len(GGUF))
        self.pulled(hub)
        self.assertEqual(hub.asked("store")[-1].range, (100_000, len(GGUF) - 1))

    def test_ctrl_c_while_waiting_for_the_hub(self):
        hub = self.hub({"x.gguf": GGUF})
        hub.fault = lambda request: Cut(0, hang=True)
        process = self.start(hub, "pull", NAME)
        self.assertTrue(hub.hanging.acquire(timeout=60))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertFalse(self.models.exists())

    def test_two_at_once(self):
        hub = self.hub({"x.gguf": GGUF})
        first = self.hanging_pull(hub)
        code, _, err = self.run_fathom(None, "rm", NAME, "--yes")
        self.assertEqual(code, 1)
        self.assertIn("a pull is working on it", err)
        second = self.start(hub, "pull", NAME)
        self.assertIn("waiting until it ends", second.stderr.readline())
        hub.go_on.set()  # the first one's connection breaks, and it goes on
        self.assertEqual([first.wait(60), second.wait(60)], [0, 0])
        self.assertIn("here already", second.stdout.read())
        self.assert_files({"x.gguf": GGUF})

    def test_killed_at_any_step(self):
        """Kills at many moments: what is there is never taken for whole unless it is, and the next pull completes it."""
        files = folder_model()
        hub = self.hub(files)
        for last in range(2 + len(TAKEN) - 1 + 2):  # two of the list, each file that is not empty, the store
            asked = []
            hub.fault = lambda request: asked.append(request) or (Cut(0, hang=True) if len(asked) == last + 1 else None)
            process = self.start(hub, "pull", NAME, "--connections", "2")
            self.assertTrue(hub.hanging.acquire(timeout=60))
            process.kill()
            process.wait()
            self.assertEqual({model["state"] for model in self.listed().values()} - {"partial"}, set())
            hub.fault = None
            self.pulled(hub)
            self.assert_files({path: files[path] for path in TAKEN})
            shutil.rmtree(self.models)

    def test_a_new_model_that_was_killed_while_it_was_put_in_place(self):
        files = folder_model()
        hub = self.hub(files)
        self.pulled(hub)
        record = (self.models / NAME / ".fathom" / "pull.json").read_text()
        # As a kill between two renames leaves it: some files moved, others still parts with their states.
        folder, staging = self.models / NAME, self.models / "acme" / ".tiny.pulling"
        aside, parts = staging / "files", staging / "parts"
        parts.mkdir(parents=True)
        folder.rename(aside)
        (aside / ".fathom" / "pull.json").rename(aside / ".fathom" / "pull.json.new")
        for entry in json.loads(record)["files"][:3]:
            (aside / entry["path"]).rename(parts / (entry["path"] + ".part"))
            pieces = [entry["size"]] if entry["size"] else []
            state = {"format": "fathom.part", "version": 1, "size": entry["size"], "etag": "", "piece_bytes": 8 * MIB,
                     "identity": entry.get("git_oid") or entry["sha256"], "done": pieces, "verified": entry["sha256"]}
            (parts / (entry["path"] + ".part.json")).write_text(json.dumps(state))
        self.assert_not_installed()
        before = len(hub.asked("resolve"))
        self.pulled(hub)
        self.assertEqual(len(hub.asked("resolve")), before)
        self.assert_files({path: files[path] for path in TAKEN})

    def test_an_update_that_was_killed_while_it_was_put_in_place(self):
        hub = self.hub({"x.gguf": GGUF, "README.md": b"r"})
        self.pulled(hub)
        journal = self.models / NAME / ".fathom" / "pull.json.new"
        record = json.loads((self.models / NAME / ".fathom" / "pull.json").read_text())
        record["files"].append({"path": "y.gguf", "size": 5, "sha256": "0" * 64, "commit": "0" * 40})
        journal.write_text(json.dumps(record))
        self.assertEqual(self.listed()[NAME, "partial"]["state"], "partial")
        code, _, err = self.run_fathom(None, "run", NAME, "hi")
        self.assertEqual(code, 1)
        self.assertIn("update was broken off", err)
        self.pulled(hub)
        self.assert_files({"x.gguf": GGUF, "README.md": b"r"})

    def test_another_file_keeps_an_unfinished_one(self):
        hub = self.hub({"x.gguf": GGUF, "y.gguf": GGUF[:5000]})
        hub.fault = lambda request: Cut(100_000) if request.kind == "store" and request.number == 0 else None
        self.assertEqual(self.pull(hub, NAME + ":x.gguf", "--retries", "0")[0], 1)
        self.pulled(hub, NAME + ":y.gguf")
        self.assertEqual(sorted(self.listed()), [(NAME, "complete"), (NAME, "partial")])
        partial = self.listed()[NAME, "partial"]
        self.assertEqual((partial["size"], partial["total_size"]), (100_000, len(GGUF)))
        self.pulled(hub, NAME + ":x.gguf")
        self.assertEqual(hub.asked("store")[-1].range, (100_000, len(GGUF) - 1))
        self.assert_files({"x.gguf": GGUF, "y.gguf": GGUF[:5000]})


class Room(Home):
    def test_a_disk_that_is_too_small(self):
        with SmallDisk(2 * MIB) as disk:
            hub = self.hub({"x.gguf": content(3 * MIB, 1)})
            code, _, err = self.pull(hub, env={"FATHOM_HOME": str(disk)})
            self.assertEqual(code, 3)
            self.assertIn(f"needs 3.15 MB ({3 * MIB} bytes) more, and ", err)
            self.assertEqual(hub.asked("resolve"), [])
            self.assertEqual(list(disk.rglob("*.part")), [])

    def test_a_disk_that_fills_up_meanwhile(self):
        with SmallDisk(4 * MIB) as disk:
            data = content(3 * MIB // 2, 1)
            hub = self.hub({"x.gguf": data})

            def fill(request):
                if request.kind == "store" and request.number == 0:
                    (disk / "other").write_bytes(bytes(3 * MIB))

            hub.fault = fill
            code, _, err = self.pull(hub, env={"FATHOM_HOME": str(disk)})
            self.assertEqual(code, 3)
            self.assertIn("No space left", err)
            (disk / "other").unlink()
            self.assertEqual(self.run_fathom(None, "list", env={"FATHOM_HOME": str(disk)})[1].count("partial"), 1)
            self.pulled(hub, env={"FATHOM_HOME": str(disk)})
            self.assertGreater(hub.asked("store")[-1].range[0], 0)
            self.assertEqual((disk / "models" / NAME / "x.gguf").read_bytes(), data)

    def test_a_limit_of_a_file_s_size(self):
        hub = self.hub({"x.gguf": GGUF})
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
        code, _, err = self.run_fathom(hub, "pull", NAME, preexec_fn=limit)
        self.assertEqual(code, 3, err)
        self.assertIn("File too large", err)
        self.pulled(hub)
        self.assert_files({"x.gguf": GGUF})

    def test_a_folder_that_cannot_be_written(self):
        (self.home / "models").write_text("a file")
        code, _, err = self.pull(self.hub({"x.gguf": GGUF}))
        self.assertEqual(code, 1)
        self.assertIn(str(self.models), err)


class Local(Home):
    def test_list(self):
        code, out, err = self.run_fathom(None, "list")
        self.assertEqual((code, out), (0, ""))
        self.assertIn("no model is in", err)
        self.pulled(self.hub(folder_model()))
        (self.models / "mine.gguf").write_bytes(b"GGUF")
        (self.models / "me" / "own").mkdir(parents=True)
        (self.models / "me" / "own" / "a.gguf").write_bytes(b"GGUF")
        (self.models / "me" / "own\x1b[31m").mkdir(parents=True)
        code, out, _ = self.run_fathom(None, "list")
        self.assertEqual(code, 0)
        rows = [line.split() for line in out.splitlines()]
        self.assertEqual(rows[0], ["NAME", "TYPE", "SIZE", "DATE", "STATE"])
        self.assertEqual([row[:2] for row in rows[1:4]], [[NAME, "safetensors"], ["me/own", "GGUF"], ["me/own\u241b[31m", "files"]])
        self.assertEqual(rows[4][:4], ["mine.gguf", "GGUF", "4", "bytes"])
        self.assertNotIn("\x1b", out)

    def test_models_by_name_and_file(self):
        hub = self.hub({"Q4/x-Q4_0.gguf": GGUF, "Q8/x-Q8_0-00001-of-00002.gguf": GGUF[:9], "Q8/x-Q8_0-00002-of-00002.gguf": GGUF[:8]})
        self.pulled(hub, NAME + ":Q4_0")
        for name in (NAME, NAME + ":q4_0", NAME + "/Q4/x-Q4_0.gguf"):  # found, and found to be no model
            self.assertIn("x-Q4_0.gguf: ", self.run_fathom(None, "tokenize", name, "x")[2])
        self.pulled(hub, NAME + ":Q8_0")
        self.assertIn("expected one GGUF file in this folder, found 2", self.run_fathom(None, "tokenize", NAME, "x")[2])
        self.assertIn("00001-of-00002.gguf: ", self.run_fathom(None, "tokenize", NAME + ":Q8_0", "x")[2])
        self.assertIn("found none", self.run_fathom(None, "tokenize", NAME + ":Q2_K", "x")[2])

    def test_rm(self):
        hub = self.hub({"x.gguf": GGUF})
        self.pulled(hub)
        code, _, err = self.run_fathom(None, "rm", NAME)
        self.assertEqual(code, 2)
        self.assertIn("--yes", err)
        self.assertIn((NAME, "complete"), self.listed())
        code, out, _ = self.run_fathom(None, "rm", NAME, "--yes")
        self.assertEqual(code, 0)
        self.assertIn(f"removed {NAME}, 300 kB", out)
        self.assertEqual(list(self.models.iterdir()), [])
        self.assertEqual(self.run_fathom(None, "rm", NAME, "--yes")[0], 1)
        hub.fault = lambda request: Cut(1000) if request.kind == "store" else None
        self.pull(hub, NAME, "--retries", "0")
        self.assertEqual(self.run_fathom(None, "rm", NAME, "--yes")[0], 0)
        self.assertEqual(list(self.models.iterdir()), [])
        (self.models / "mine.gguf").write_bytes(b"GGUF")
        self.assertEqual(self.run_fathom(None, "rm", "mine.gguf", "-y")[0], 0)

    def test_rm_stays_in_the_models_folder(self):
        outside = self.home / "outside"
        outside.mkdir()
        (outside / "precious").write_text("x")
        (self.models / "acme").mkdir(parents=True)
        (self.models / "acme" / "link").symlink_to(outside)
        (self.models / "owner").symlink_to(self.home)
        for name in ("..", "../outside", "/etc", "acme/..", "acme/../../outside", "owner/outside", ".", "", "acme", "acme/.x",
                     "acme/link/precious", str(outside)):
            self.assertIn(self.run_fathom(None, "rm", name, "--yes")[0], (1, 2), name)
        self.assertEqual(self.run_fathom(None, "rm", "acme/link", "--yes")[0], 0)
        self.assertEqual((outside / "precious").read_text(), "x")
        self.assertFalse((self.models / "acme").exists())

    def test_links_in_the_way_of_a_pull(self):
        hub = self.hub({"x.gguf": GGUF, "sub/config.json": b"{}"})
        outside = self.home / "outside"
        for link in ("acme", NAME, "acme/.tiny.pulling", "acme/tiny/sub", "acme/tiny/x.gguf", "acme/tiny/.fathom"):
            outside.mkdir()
            path = self.models / link
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(outside)
            code, _, err = self.pull(hub, NAME, "--all")
            self.assertEqual(code, 1, link + err)
            self.assertIn("link", err)
            self.assertEqual(list(outside.iterdir()), [], link)
            shutil.rmtree(self.models)
            outside.rmdir()

    def test_a_person_s_own_file_stays(self):
        hub = self.hub({"x.gguf": GGUF, "README.md": b"r"})
        folder = self.models / NAME
        folder.mkdir(parents=True)
        (folder / "x.gguf").write_bytes(b"mine")
        code, _, err = self.pull(hub)
        self.assertEqual(code, 1)
        self.assertIn("move it away", err)
        self.assertEqual((folder / "x.gguf").read_bytes(), b"mine")
        (folder / "x.gguf").write_bytes(GGUF)  # the same as the hub's: adopted
        self.pulled(hub)
        self.assertEqual(hub.asked("store"), [])
        self.assert_files({"x.gguf": GGUF, "README.md": b"r"})

    @unittest.skipUnless(shutil.which("tmux"), "needs tmux")
    def test_at_a_terminal(self):
        data = content(300_000, 5)
        hub = self.hub({"x.gguf": data})
        hub.fault = lambda request: Cut(100_000, hang=True) if request.kind == "store" and request.number == 0 else None
        env = {k: self.environment(hub)[k] for k in ("FATHOM_HOME", "HOME", "HF_ENDPOINT", "NO_PROXY")}
        terminal = Terminal("pull", NAME, env=env, columns=120)
        self.addCleanup(terminal.close)
        terminal.wait_for("33%, 100 kB of 300 kB")
        hub.go_on.set()
        terminal.wait_for("EXIT 0")
        for answer, code in (("n", 1), ("y", 0)):
            question = Terminal("rm", NAME, env=env, columns=120)
            self.addCleanup(question.close)
            question.wait_for("? [y/N]")
            question.say(answer)
            question.wait_for(f"EXIT {code}")
        self.assertEqual(self.listed(), {})


if __name__ == "__main__":
    _fathom.harness.main()

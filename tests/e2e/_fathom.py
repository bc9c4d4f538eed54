"""What the end-to-end tests share: the program, models, a small safetensors reader, and a terminal (tmux) to type into."""
import atexit
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "scripts"))
import harness  # noqa: E402

ROOT, FATHOM = harness.ROOT, harness.FATHOM
# Nothing is written to the person's own folders.
FATHOM_HOME = tempfile.mkdtemp(prefix="fathom-home-")
atexit.register(shutil.rmtree, FATHOM_HOME, ignore_errors=True)
GOLDEN = pathlib.Path(os.environ.get("FATHOM_GOLDEN") or ROOT / "tests" / "golden")


def shared():
    """The folder of test data, or None."""
    folder = pathlib.Path(os.environ.get("FATHOM_SHARED") or ROOT.parent / "shared")
    return folder if folder.is_dir() else None


def chat_model():
    """A small model that can chat, or None."""
    places = [shared() / "models"] if shared() else []
    places.append(ROOT / "build" / "test-home" / "models")
    for place in places:
        if found := sorted(place.glob("*.gguf")):
            return found[0]
    return None


def run(*arguments, stdin="", env=None, cwd=None, timeout=120):
    """Runs the program; returns (exit code, stdout, stderr)."""
    result = subprocess.run([str(FATHOM), *map(str, arguments)], input=stdin, capture_output=True, text=True,
                            timeout=timeout, env={**os.environ, "FATHOM_HOME": FATHOM_HOME, **(env or {})}, cwd=cwd)
    return result.returncode, result.stdout, result.stderr


def read_safetensors(path):
    """{name: (shape, values)} of the f32 and i64 tensors."""
    data = pathlib.Path(path).read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    tensors = {}
    for name, info in json.loads(data[8:8 + size]).items():
        if name == "__metadata__" or info["dtype"] not in ("F32", "I64"):
            continue
        begin, end = info["data_offsets"]
        code, width = ("f", 4) if info["dtype"] == "F32" else ("q", 8)
        values = struct.unpack_from(f"<{(end - begin) // width}{code}", data, 8 + size + begin)
        tensors[name] = (info["shape"], values)
    return tensors


class SmallDisk:
    """A tmpfs of so many bytes, where this user may mount one."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp())
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", str(self.path)], capture_output=True)
        if made.returncode:
            self.path.rmdir()
            raise unittest.SkipTest("needs the right to mount a tmpfs")
        return self.path

    def __exit__(self, *_):
        subprocess.run(["umount", str(self.path)], check=True)
        self.path.rmdir()


class Terminal:
    """A program in a terminal of tmux's. Waits are for what the screen shows, never for a time."""

    def __init__(self, *arguments, columns=80, rows=24, env=None):
        self.prompts = 0
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.socket = f"fathom-{uuid.uuid4().hex[:12]}"
        settings = {"FATHOM_HOME": str(self.folder), "LC_ALL": "C.UTF-8", **(env or {})}
        words = ["env", *(f"{k}={v}" for k, v in settings.items()), str(FATHOM), *map(str, arguments)]
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  quoted + "; echo EXIT $?; sleep 1000")

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-u", "-L", self.socket, *arguments], capture_output=True, text=True,
                              timeout=30).stdout

    def close(self):
        self.tmux("kill-server")
        shutil.rmtree(self.folder, ignore_errors=True)

    def type(self, text):
        self.tmux("send-keys", "-l", "--", text)

    def keys(self, *names):
        self.tmux("send-keys", *names)

    def paste(self, text):
        self.tmux("set-buffer", "--", text)
        self.tmux("paste-buffer", "-p")

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, history=False):
        return self.tmux("capture-pane", "-p", *(["-S", "-1000"] if history else [])).rstrip("\n")

    def wait(self, condition, what, seconds=40):
        """Until condition(screen) holds; the limit only ends a test that hangs."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            screen = self.screen()
            if condition(screen):
                return screen
            time.sleep(0.05)
        raise AssertionError(f"the screen never showed {what}:\n{self.screen(history=True)}")

    def wait_for(self, text):
        return self.wait(lambda screen: text in screen, repr(text))

    def prompt_count(self):
        return sum(line.startswith(">") for line in self.screen(history=True).split("\n"))

    def wait_for_empty_prompt(self):
        return self.wait(lambda screen: screen.split("\n")[-1].rstrip() == ">", "an empty prompt")

    def wait_for_prompt(self):
        """A new prompt since the last call or question."""
        self.wait(lambda screen: screen.split("\n")[-1].rstrip() == ">" and self.prompt_count() > self.prompts,
                  "a new prompt")
        self.prompts = self.prompt_count()

    def ask(self, text):
        self.wait_for_empty_prompt()
        self.prompts = self.prompt_count()
        self.say(text)

    def say(self, text):
        self.type(text)
        self.keys("Enter")


def inspected(*arguments, code=0):
    """What `fathom inspect --json` says, with this exit code."""
    got, out, error = run("inspect", *arguments, "--json")
    assert got == code, (got, error)
    return json.loads(out)

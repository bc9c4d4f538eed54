"""What the tests of the page share: its packages (web/node_modules), and Chromium."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
import _fathom  # noqa: E402

WEB = _fathom.ROOT / "web"
PATIENCE_S = 900


def chromium():
    """The browser, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def missing_packages():
    """Installs what package-lock.json says, once. Returns '' or why it is not there."""
    if not shutil.which("node") or not shutil.which("npm"):
        return "node and npm are not installed"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True).stdout
    if (found := re.match(r"v(\d+)\.", version)) and int(found[1]) < 20:
        return f"needs Node 20 or newer, found {version.strip()}"
    note, wanted = WEB / "node_modules" / ".installed.json", json.dumps((WEB / "package-lock.json").read_text())
    if note.exists() and note.read_text() == wanted:
        return ""
    done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1"], cwd=WEB,
                          capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode:
        return f"npm: {(done.stderr.strip().splitlines() or ['no reason given'])[-1][-200:]}"
    note.write_text(wanted)
    return ""


def npm(*arguments):
    """(exit code, what it said)."""
    done = subprocess.run(["npm", "--silent", *arguments], cwd=WEB, capture_output=True, text=True, timeout=PATIENCE_S,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr

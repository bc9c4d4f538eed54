#!/usr/bin/env python3
"""Checks that clang-format (configuration: .clang-format) would change nothing in src/, tests/ and bench/.

Version 14 decides, as on Debian 12: others break lines elsewhere.
Usage: tools/check_format.py [--fix] [FILE...]    exit codes: 0 clean, 1 not, 77 clang-format 14 is not installed
"""
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def clang_format():
    """The command of version 14, or None."""
    for name in ("clang-format-14", "clang-format"):
        if shutil.which(name):
            version = subprocess.run([name, "--version"], capture_output=True, text=True).stdout
            if re.search(r"version 14\.", version):
                return name
    return None


def main():
    command, arguments = clang_format(), sys.argv[1:]
    if not command:
        print("clang-format 14 is not installed")
        return 77
    fix = "--fix" in arguments
    files = [pathlib.Path(name) for name in arguments if name != "--fix"]
    files = files or [path for folder in ("src", "tests", "bench") for path in sorted((ROOT / folder).rglob("*"))]
    files = [str(path) for path in files if path.suffix in (".cc", ".h", ".cu", ".cuh")]
    if not files:
        return 0
    mode = ["-i"] if fix else ["--dry-run", "--Werror", "--ferror-limit=1"]
    result = subprocess.run([command, *mode, *files], capture_output=True, text=True)
    bad = sorted({line.split(":")[0] for line in result.stderr.splitlines() if "clang-format-violations" in line})
    for path in bad:
        print(f"{path}: clang-format would change it (tools/check_format.py --fix)")
    failed = result.returncode != 0 or "rror reading" in result.stderr  # a bad configuration leaves the status at 0
    if failed and not bad:
        print(result.stderr[:2000], end="")
    print(f"format: {len(files)} files, {len(bad)} to be changed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

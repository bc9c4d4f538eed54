#!/usr/bin/env python3
"""Runs clang-tidy (configuration: .clang-tidy) over the sources of src/, two at a time, without a build folder.

What passed is remembered by the hash of the file, of every header of ours that it reaches and of the configuration, so
that only what changed since is looked at: in build/tidy, and in tools/tidy/passed.txt for fresh clones, where all files
together take half an hour. Tests are left out: their macros are mostly findings.
Usage: tools/check_tidy.py [--record] [FILE...]
  --record   writes tools/tidy/passed.txt anew from what has passed here
Exit codes: 0 clean, 1 findings, 77 clang-tidy is not installed
"""
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PASSED = ROOT / "build" / "tidy"
RECORD = ROOT / "tools" / "tidy" / "passed.txt"
SHIM = ROOT / "tools" / "tidy" / "source_location.h"
FLAGS = ["-std=c++20", "-I", str(ROOT / "src"), "-I", str(ROOT), "-include", str(SHIM),
         '-DFATHOM_VERSION=""', "-Wno-everything"]
INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.M)
# The same options as src/kernels/isa.cmake, by the file's prefix.
ISA_FLAGS = {
    "avx2": ["-mavx2", "-mfma", "-mf16c"],
    "avx512": "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512bf16".split(),
    "neon_dotprod": ["--target=aarch64-linux-gnu", "-march=armv8.2-a+dotprod"],
    "neon": ["--target=aarch64-linux-gnu"],
}
ARM_HEADERS = pathlib.Path("/usr/aarch64-linux-gnu/include")  # of the cross compiler; without it neon*.cc are left out


def clang_tidy():
    """The command: version 14 where it is installed, so that all systems judge alike; None without any."""
    return shutil.which("clang-tidy-14") or shutil.which("clang-tidy")


def reached(path, seen):
    """Adds `path` and every header of ours that it includes, directly or not, to the set `seen`."""
    if path in seen or not path.is_file():
        return seen
    seen.add(path)
    for name in INCLUDE.findall(path.read_bytes()):
        for folder in (path.parent, ROOT / "src", ROOT):
            if (folder / name.decode()).is_file():
                reached((folder / name.decode()).resolve(), seen)
                break
    return seen


def fingerprint(path):
    """The hash under which a clean `path` is remembered."""
    digest = hashlib.sha256(pathlib.Path(clang_tidy()).name.encode())
    flags = repr((FLAGS[0], FLAGS[-1], ISA_FLAGS)).encode()
    for part in [ROOT / ".clang-tidy", SHIM, *sorted(reached(path.resolve(), set()))]:
        digest.update(str(part.relative_to(ROOT)).encode() + b"\0" + part.read_bytes() + flags)
    return digest.hexdigest()[:32]


def recorded():
    """The fingerprints of tools/tidy/passed.txt."""
    return {line.split()[0] for line in RECORD.read_text().splitlines()} if RECORD.exists() else set()


def has_passed(path, known):
    mark = fingerprint(path)
    return mark in known or (PASSED / mark).exists()


def findings(path):
    """clang-tidy's output for `path`; empty if it is clean."""
    mark = PASSED / fingerprint(path)
    isa = next((flags for prefix, flags in ISA_FLAGS.items() if re.match(prefix + r"(_|\.)", path.name)), [])
    result = subprocess.run([clang_tidy(), "--quiet", str(path), "--", *FLAGS, *isa], capture_output=True, text=True)
    if result.returncode == 0:
        mark.touch()
        return ""
    return result.stdout + "".join(l + "\n" for l in result.stderr.splitlines() if "generated" not in l)


def is_about_the_system(report):
    """True if clang-tidy stumbled over the system's headers alone: version 14 cannot read all of g++ 13's library."""
    places = re.findall(r"^(\S+):\d+:\d+: (?:error|warning):", report, flags=re.M)
    return bool(places) and not any(pathlib.Path(place).resolve().is_relative_to(ROOT) for place in places)


def unique_blocks(reports):
    """The findings of all reports (a line with FILE:LINE:COLUMN and what follows), each once: headers recur."""
    blocks = {}
    for report in reports:
        for block in re.split(r"^(?=\S+:\d+:\d+: )", report, flags=re.M):
            blocks[block] = None
    return list(blocks)


def main():
    if not clang_tidy():
        print("clang-tidy is not installed")
        return 77
    record = "--record" in sys.argv[1:]
    named = [pathlib.Path(name) for name in sys.argv[1:] if name != "--record"]
    files = named or sorted((ROOT / "src").rglob("*.cc"))
    files = [path for path in files if path.suffix == ".cc" and not path.name.endswith("_test.cc")]
    if not ARM_HEADERS.exists() and os.uname().machine != "aarch64":
        files = [path for path in files if not path.name.startswith("neon")]
    PASSED.mkdir(parents=True, exist_ok=True)
    known = recorded()
    changed = [path for path in files if not has_passed(path, known)]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        reports = [report for report in pool.map(findings, changed) if report]
    if record:
        RECORD.write_text("".join(f"{fingerprint(path)} {path.resolve().relative_to(ROOT)}\n"
                                  for path in sorted((ROOT / "src").rglob("*.cc")) if has_passed(path, known)))
    unreadable = [report for report in reports if is_about_the_system(report)]
    reports = [report for report in reports if report not in unreadable]
    print("".join(unique_blocks(reports)), end="")
    print(f"tidy: {len(files)} files, {len(changed)} of them new or changed, {len(reports)} with findings"
          + (f"; {len(unreadable)} not checked, their system headers are too new for {clang_tidy()}" if unreadable else ""))
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Builds and runs the tests; ./test calls it after setup. The last line is `N passed, N failed, N skipped`.

Parts, in any number (none: all of them):
  release     every GoogleTest program, optimised
  sanitizers  the same with AddressSanitizer and UndefinedBehaviorSanitizer, by clang where it is installed
  tsan        the thread pool's, the scheduler's and the HTTP server's tests with ThreadSanitizer
  scripts     the tools' own tests (tests/scripts), the program as a person uses it (tests/e2e),
              other people's clients of the server (tests/clients), and the page in a browser (tests/web)
  checks      layers, format, clang-tidy
  fuzz        a short run of each fuzz target with clang's libFuzzer (tools/fuzz.sh makes long ones), from the
              sanitizers' build
  neon        the kernels' test for 64-bit ARM, cross-compiled, under qemu-user
  quick       what the changed folders need, release only, in less than 3 minutes on a warm build
The exit status is 0 if nothing failed.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import changed
import fuzz
import suites

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
# Each part, what matters most first, and the seconds it needs on two cores of an EPYC (Zen 3) with nothing built.
NEEDS = {"release": 1250, "scripts": 700, "sanitizers": 1550, "fuzz": 100, "checks": 500, "tsan": 450, "neon": 200}
PARTS = tuple(NEEDS)
BUILT_WITH = {"release": "release", "scripts": "release", "sanitizers": "sanitizers", "fuzz": "sanitizers", "tsan": "tsan"}
CORES = len(os.sched_getaffinity(0))
# What ThreadSanitizer watches: {program: filter}. All that shares memory between threads.
TSAN = {"base_test": "*ThreadPool*", "engine_test": "*Schedule*:ModelHosts*", "server_http_test": "Http*"}
# Programs of the optimised build alone: real models take minutes under sanitizers and reach no other code.
RELEASE_ONLY = {"real_test"}
# The kernels' test under emulation, in runs of about the same length: {name: (processor, filter)}.
NEON = {"products": ("max", "Linear.*:Elementary.*"), "all else": ("max", "-Linear.*:Elementary.*"),
        "without sdot": ("cortex-a72", "*Int8*:Probe*")}
SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
    "FATHOM_SCHEDULES": "60",  # of each model: they take ten times as long there
}
QUICK_SECONDS = 165  # all of ./test quick; what does not fit is named and counted as skipped


def configure(preset):
    """Configures build/<preset> with tests; cmake sees new files of src/ by itself. Returns an error text or ''."""
    folder = BUILD / preset
    command = ["cmake", "--preset", preset, "-DFATHOM_BUILD_TESTS=ON"]
    if preset == "sanitizers":
        command += fuzz.compiler_options()
    cache = folder / "CMakeCache.txt"
    known = cache.read_text(errors="replace") if cache.exists() else ""
    compiler = [option.split("=")[1] for option in command if option.startswith("-DCMAKE_CXX_COMPILER=")]
    if known and (f"CMAKE_HOME_DIRECTORY:INTERNAL={ROOT}\n" not in known or
                  any(not re.search(rf"^CMAKE_CXX_COMPILER:\w+=(.*/)?{re.escape(name)}$", known, re.M) for name in compiler)):
        command.append("--fresh")  # the tree was moved or copied with its build folder, or another compiler built it
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stdout[-2000:] + result.stderr[-6000:]


def build(preset, targets, seconds=None):
    """Builds as much as can be built. Returns an Outcome with failures only, or None where all is well."""
    print(f"building {preset}: {' '.join(targets) or 'everything'}", flush=True)
    if error := configure(preset):
        return suites.failure(f"configure {preset}", "cmake failed", error)
    command = ["cmake", "--build", str(BUILD / preset)]
    command += (["--target", *targets] if targets else []) + ["--", "-k", "0"]
    status, output, took = suites.execute(
        command, seconds or 3600, progress=lambda so_far, line: print(f"  {so_far:.0f} s {line}", flush=True))
    if status == 0:
        print(f"built {preset} in {took:.0f} s", flush=True)
        return None
    wrong = [line for line in output.splitlines() if not line.startswith("[") or "FAILED" in line]
    return suites.failure(f"build {preset}", suites.ending(status, seconds or 3600), "\n".join(wrong), took)


def test_programs(preset):
    """{program: path} of the GoogleTest programs that the build plan of a configured preset has."""
    command = ["ninja", "-C", str(BUILD / preset), "-t", "targets", "all"]
    listed = subprocess.run(command, capture_output=True, text=True).stdout
    paths = [line.split(":")[0] for line in listed.splitlines() if ": CXX_EXECUTABLE_LINKER" in line]
    return {path.split("/")[-1]: BUILD / preset / path for path in paths if path.endswith("_test")}


def fixed_addresses():
    """The prefix that turns off random addresses, () where that is forbidden: with the many random bits of new kernels
    the sanitizers of g++ 12 and 13 find their shadow memory taken, now and then."""
    prefix = ("setarch", os.uname().machine, "-R")
    try:
        return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else ()
    except OSError:
        return ()


def google_tests(preset, only=None):
    """A suite per test program; `only` maps programs to filters."""
    found = test_programs(preset)
    chosen = only if only is not None else {name: "*" for name in found
                                            if preset == "release" or name not in RELEASE_ONLY}
    prefix = () if preset == "release" else fixed_addresses()
    return [suites.GoogleTest(f"{preset} {name}", found[name], pattern, SANITIZER_ENVIRONMENT, prefix=prefix)
            for name, pattern in chosen.items() if name in found]


def script_suites(folders=("tests/scripts", "tests/e2e", "tests/clients", "tests/web")):
    """The Python tests: *_test.py of these folders, and every .py of tests/e2e but helpers (_*.py)."""
    environment = {"FATHOM_SOURCE": str(ROOT), "FATHOM_BIN": str(BUILD / "release" / "src" / "fathom"),
                   "PYTHONPATH": str(ROOT / "tests" / "scripts")}
    paths = [path for folder in folders for path in sorted((ROOT / folder).glob("*.py"))]
    paths = [path for path in paths if path.name.endswith("_test.py") or
             (path.parent.name == "e2e" and not path.name.startswith("_"))]
    return [suites.Script(str(path.relative_to(ROOT)), path, environment) for path in paths]


def fuzz_suites():
    """A short run of each target; without clang each of them is a skip."""
    return [suites.Check(f"fuzz {target}", [sys.executable, str(ROOT / "tools/fuzz.py"), target, "--short"])
            for target in fuzz.TARGETS]


def neon_suites():
    """(suites, outcome): those of NEON, or none and a skip where a tool is missing."""
    missing = [tool for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64") if not shutil.which(tool)]
    missing += [] if pathlib.Path("/usr/src/googletest").exists() else ["/usr/src/googletest"]
    if missing:
        return [], suites.Outcome("neon", skipped=1, notes=[f"neon: {' and '.join(missing)} not installed"])
    return [suites.GoogleTest(f"neon {name}", BUILD / "neon" / "kernels_test", pattern, prefix=("qemu-aarch64", "-cpu", cpu))
            for name, (cpu, pattern) in NEON.items()], None


def check_suites(files=None):
    """Layers, format and tidy; `files` restricts the last two."""
    named = [[str(ROOT / name) for name in files if (ROOT / name).exists()]] if files is not None else [[]]
    sources = [name for name in named[0] if name.endswith((".cc", ".h"))]
    result = [suites.Check("layers", [sys.executable, str(ROOT / "tools/check_layers.py")])]
    if files is None or sources:
        result.append(suites.Check("format", [sys.executable, str(ROOT / "tools/check_format.py"), *sources]))
        result.append(suites.Check("tidy", [sys.executable, str(ROOT / "tools/check_tidy.py"),
                                            *[name for name in sources if "/src/" in name]]))
    return result


def show(outcome):
    """One line per suite, as soon as it is done."""
    counts = f"{outcome.passed} passed, {outcome.failed} failed, {outcome.skipped} skipped"
    print(f"{'FAILED' if outcome.failed else 'ok':6} {outcome.name:40} {counts}  {outcome.seconds:.1f} s", flush=True)


def run_all(todo, workers=CORES):
    """Runs suites side by side; the outcomes in their order."""
    with concurrent.futures.ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(suite.run) for suite in todo]
        for future in concurrent.futures.as_completed(futures):
            show(future.result())
    return [future.result() for future in futures]


def targets(part):
    """What a part needs of the configured preset that it is built with."""
    programs = test_programs(BUILT_WITH[part])
    if part == "sanitizers":
        return [name for name in programs if name not in RELEASE_ONLY]
    if part == "tsan":
        return [name for name in TSAN if name in programs]
    return {"release": ["all"], "scripts": ["fathom"], "fuzz": ["fuzz_programs"]}[part]


def run_part(part):
    """Builds and runs one part; what was built is tested even where something else was not."""
    if part == "checks":
        return run_all(check_suites(), 1)  # they use all cores themselves
    if part == "neon":
        emulated, broken = neon_suites()
        broken = broken or build("neon", ["kernels_test"])
        return [broken] if broken else run_all(emulated)
    preset = BUILT_WITH[part]
    if part == "fuzz" and not fuzz.compiler():
        return run_all(fuzz_suites())  # each a skip that says why
    if error := configure(preset):
        return [suites.failure(f"configure {preset}", "cmake failed", error)]
    broken = build(preset, targets(part))
    if part == "scripts":
        outcomes = run_all(script_suites(), 1)  # a chat at a terminal wants an idle machine
    elif part == "fuzz":
        outcomes = run_all(fuzz_suites())
    else:
        outcomes = run_all(google_tests(preset, TSAN if part == "tsan" else None))
    return ([broken] if broken else []) + outcomes


def run_parts(parts, within=None):
    """Everything of `parts`, in the order of PARTS. With `within` seconds, a part that would end later, by what it needs
    elsewhere and by how this machine fared with the first one, is left out and counted as a skip."""
    started, outcomes, pace = time.monotonic(), [], 1.0
    for part in [part for part in PARTS if part in parts]:
        begun = time.monotonic() - started
        if within and begun + NEEDS[part] * pace > within:
            note = f"left out for time: {part}, which needs about {NEEDS[part] * pace:.0f} s here (./test {part} runs it)"
            outcomes.append(suites.Outcome(part, skipped=1, notes=[note]))
            continue
        outcomes += run_part(part)
        if part == "release":
            pace = max(0.3, (time.monotonic() - started - begun) / NEEDS[part])
    return outcomes


def run_quick():
    """Changed folders first, then what depends on them while time remains; the rest is named and counted."""
    started = time.monotonic()
    left = lambda: QUICK_SECONDS - (time.monotonic() - started)
    first, later, paths = changed.needed(ROOT)
    print("changed: " + (", ".join(first) or "no folder of src/") + ("" if paths else " (no history to compare with)"))
    outcomes, left_out = run_all(check_suites(paths), 1), []
    if error := configure("release"):
        return [*outcomes, suites.failure("configure release", "cmake failed", error)]
    programs = test_programs("release")
    for folders in (first, *[[folder] for folder in later], ["golden"] if first else []):
        names = [name for name in programs if name.rsplit("_", 1)[0].split("_")[0] in folders]
        if not names:
            continue
        if left() < 20:
            left_out += names
            continue
        broken = build("release", names, None if folders is first else max(1, left()))
        if broken and folders is not first and left() < 5:
            left_out += names
            continue
        outcomes += [broken] if broken else []
        outcomes += run_all(google_tests("release", {name: "*" for name in names}))
    beside = {"tests/scripts": "tools/", "tests/web": "web/"}
    touched = {folder for folder in ("tests/scripts", "tests/e2e", "tests/clients", "tests/web")
               if paths and any(path.startswith((folder, beside.get(folder, folder)))
                                for path in paths)}
    for suite in script_suites(sorted(touched)):
        if left() < 20:
            left_out.append(suite.name)
            continue
        outcomes += run_all([suite])
    notes = [f"left out for time: {name} (./test runs it)" for name in left_out]
    return [*outcomes, suites.Outcome("left out", skipped=len(left_out), notes=notes)]


def report(outcomes, seconds):
    """Failures with their output, reasons of skips, and the counts as the last line. Returns the exit status."""
    for outcome in outcomes:
        if outcome.failed:
            print(f"\n==== {outcome.name}\n{outcome.output.rstrip()}")
    for note in dict.fromkeys(note for outcome in outcomes for note in outcome.notes):
        print(f"skipped: {note}")
    passed, failed, skipped = (sum(getattr(o, field) for o in outcomes) for field in ("passed", "failed", "skipped"))
    print(f"took {seconds:.0f} s\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


def main():
    parser = argparse.ArgumentParser(prog="./test", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="release, sanitizers, tsan, fuzz, neon, scripts, checks or quick")
    parser.add_argument("--within", type=float, metavar="SECONDS",
                        help="leave out (and count as skipped) parts that would end later; the order is that of what matters most")
    arguments = parser.parse_args()
    parts = arguments.parts
    for part in parts:
        if part not in (*PARTS, "quick", "all"):
            parser.error(f"unknown part {part}")
    started = time.monotonic()
    if "quick" in parts:
        outcomes = run_quick()
    else:
        outcomes = run_parts(PARTS if not parts or "all" in parts else parts, arguments.within)
    return report(outcomes, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())

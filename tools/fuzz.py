#!/usr/bin/env python3
"""Fuzzes the readers of outside data with libFuzzer (tests/fuzz); tools/fuzz.sh calls this.

  tools/fuzz.sh                            every target, 10 CPU minutes each
  tools/fuzz.sh gguf --runs 10000000       one target, so many executions
  tools/fuzz.sh gguf --runs N --seconds M  until both are reached
  tools/fuzz.sh --totals                   executions, CPU time and coverage so far

The corpus grows in build/fuzz/corpus/TARGET and is minimised at the end; build/fuzz/totals.tsv counts every run. What
crashes a target is minimised and put into tests/fuzz/findings/TARGET: fix it and commit both, ./test replays it for ever.
Exit codes: 0 nothing found, 1 findings, 77 no clang with libFuzzer.
"""
import argparse
import dataclasses
import hashlib
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "fuzz"
BUILD = pathlib.Path(os.environ.get("FATHOM_FUZZ_BUILD", ROOT / "build" / "sanitizers"))
STATE = ROOT / "build" / "fuzz"  # corpus, totals, artifacts
# Target: (the longest input in bytes, executions of the short run in ./test).
TARGETS = {"gguf": (4096, 15000), "safetensors": (2048, 60000), "config": (2048, 40000), "tokenizer": (4096, 15000),
           "chat_template": (2048, 10000), "output_parser": (1024, 8000),
           "http_request": (2048, 60000), "gbnf": (1024, 8000), "json_schema": (1024, 6000)}
COMPILERS = ("clang++-14", "clang++")
CHUNK_SECONDS = 300  # after so long a run is counted and begun again
MOST_FINDINGS = 10  # of one target in one run
TIMEOUT = 30  # seconds of one input
STATUS = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+)", re.M)
EXECUTED = re.compile(r"^stat::number_of_executed_units:\s*(\d+)", re.M)


def compiler():
    """The first clang++ that can link libFuzzer, or None."""
    for name in COMPILERS:
        if not shutil.which(name):
            continue
        source = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
        command = [name, "-x", "c++", "-", "-fsanitize=fuzzer,address,undefined", "-o", "/dev/null"]
        if subprocess.run(command, input=source, text=True, capture_output=True).returncode == 0:
            return name
    return None


def compiler_options():
    """What configures the preset sanitizers with this compiler, or with the system's and without fuzz targets."""
    name = compiler()
    return [f"-DCMAKE_CXX_COMPILER={name}"] if name else ["-DCMAKE_CXX_COMPILER=c++", "-DFATHOM_FUZZ=OFF"]


def fixed_addresses():
    """The prefix that turns off random addresses, where that is allowed: see run_tests.py."""
    prefix = ["setarch", os.uname().machine, "-R"]
    try:
        return prefix if subprocess.run([*prefix, "true"], capture_output=True).returncode == 0 else []
    except OSError:
        return []


def build():
    """Configures and builds the programs unless $FATHOM_FUZZ_BUILD names a folder that has them."""
    if "FATHOM_FUZZ_BUILD" in os.environ:
        return
    subprocess.run(["cmake", "--preset", "sanitizers", *compiler_options()], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", "--preset", "sanitizers", "--target", "fuzz_programs"], cwd=ROOT, check=True)


def program(target):
    return BUILD / "tests" / "fuzz" / f"fuzz_{target}"


def options(target, scratch):
    """What every run of a target has in common, and its environment."""
    flags = [f"-max_len={TARGETS[target][0]}", f"-dict={TESTS / 'dictionaries' / (target + '.dict')}", f"-timeout={TIMEOUT}",
             "-rss_limit_mb=2048", "-malloc_limit_mb=1024", "-print_final_stats=1"]
    environment = {**os.environ, "TMPDIR": scratch, "ASAN_OPTIONS": "detect_stack_use_after_return=0",
                   "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
    return flags, environment


def memory_folder():
    """A temporary folder, in memory where there is such a place."""
    return tempfile.TemporaryDirectory(prefix="fathom-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)


def kept(target, kinds=("corpus", "findings")):
    """The folders of the repository with inputs of a target."""
    return [str(TESTS / kind / target) for kind in kinds if (TESTS / kind / target).is_dir()]


def open_findings(target):
    """The kept findings that still make the target fail."""
    still = []
    with memory_folder() as scratch:
        flags, environment = options(target, scratch)
        for path in sorted((TESTS / "findings" / target).glob("*")):
            command = [*fixed_addresses(), str(program(target)), *flags, f"-artifact_prefix={scratch}/", str(path)]
            if subprocess.run(command, env=environment, capture_output=True).returncode:
                still.append(str(path.relative_to(ROOT)))
    return still


def short(target):
    """The run of ./test: fixed seed, corpus and findings as the repository has them. Returns the exit status."""
    if not program(target).exists():
        print(f"{program(target)} was not built")
        return 1
    with memory_folder() as scratch:
        flags, environment = options(target, scratch)
        os.mkdir(f"{scratch}/new")
        command = [*fixed_addresses(), str(program(target)), *flags, "-seed=1", f"-runs={TARGETS[target][1]}",
                   "-max_total_time=10", f"-artifact_prefix={scratch}/", f"{scratch}/new", *kept(target)]
        result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output = result.stdout.decode(errors="replace")
        print(reason(output) or output[-2000:] if result.returncode else next(line for line in output.splitlines() if line.startswith("Done")))
        for finding in sorted(pathlib.Path(scratch).glob("*-*")):
            if finding.is_file():
                print(f"the input, in hexadecimal: {finding.read_bytes().hex()}")
    return 1 if result.returncode else 0


def reason(output):
    """What a failed run says about the failure: from the error's line on, without the input's bytes."""
    lines = output.splitlines()
    first = next((i for i, line in enumerate(lines) if "ERROR" in line or "runtime error" in line), len(lines))
    return "\n".join(line[:200] for line in lines[max(0, first - 2):first + 30])


@dataclasses.dataclass
class Run:
    """What one chunk did."""
    executions: int
    cpu_seconds: float
    status: list  # (executions, cov, ft) as it went
    crashed: bool


def chunk(target, runs, seconds, seed):
    """One process of libFuzzer for at most `runs` executions and `seconds` of wall time."""
    artifacts = STATE / "artifacts" / target
    corpus = STATE / "corpus" / target
    artifacts.mkdir(parents=True, exist_ok=True)
    corpus.mkdir(parents=True, exist_ok=True)
    with memory_folder() as scratch, tempfile.TemporaryFile() as log:
        flags, environment = options(target, scratch)
        command = [*fixed_addresses(), str(program(target)), *flags, f"-seed={seed}", f"-max_total_time={seconds}",
                   f"-artifact_prefix={artifacts}/", str(corpus), *kept(target, ("corpus",))]
        if runs:
            command.append(f"-runs={runs}")
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            os.kill(process.pid, signal.SIGINT)
            _, status, usage = os.wait4(process.pid, 0)
            status = 0
        log.seek(0)
        output = log.read().decode(errors="replace")
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [tuple(map(int, match)) for match in STATUS.findall(output)]
    executed = EXECUTED.findall(output)
    if process.returncode:
        print(reason(output), flush=True)
    return Run(int(executed[-1]) if executed else lines[-1][0] if lines else 0, usage.ru_utime + usage.ru_stime, lines,
               process.returncode != 0)


def only_waited(target, artifact):
    """Whether an input that libFuzzer calls a timeout (by the clock) needs little time of the processor."""
    with memory_folder() as scratch:
        flags, environment = options(target, scratch)
        limit = lambda: resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT, TIMEOUT))
        command = [str(program(target)), *flags, "-timeout=3600", str(artifact)]
        return subprocess.run(command, env=environment, capture_output=True, preexec_fn=limit).returncode == 0


def keep_findings(target):
    """Minimises what crashed and moves it into the repository. Returns the number of findings, and of inputs that had
    only waited for the processor."""
    found = waited = 0
    for artifact in sorted((STATE / "artifacts" / target).glob("*-*")):
        if artifact.name.startswith(("timeout-", "slow-unit-")) and only_waited(target, artifact):
            artifact.unlink()
            waited += 1
            continue
        with memory_folder() as scratch:
            flags, environment = options(target, scratch)
            smallest = pathlib.Path(scratch) / "smallest"
            if artifact.name.startswith("crash-"):
                subprocess.run([*fixed_addresses(), str(program(target)), *flags, "-minimize_crash=1",
                                "-max_total_time=60", f"-exact_artifact_path={smallest}", str(artifact)],
                               env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            data = (smallest if smallest.exists() else artifact).read_bytes()
        place = TESTS / "findings" / target / hashlib.sha1(data).hexdigest()[:12]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        artifact.unlink()
        print(f"FOUND {artifact.name}: {len(data)} bytes, kept as {place.relative_to(ROOT)}", flush=True)
        found += 1
    return found, waited


def minimise_corpus(target):
    corpus = STATE / "corpus" / target
    smaller = corpus.with_name(target + ".smaller")
    shutil.rmtree(smaller, ignore_errors=True)
    smaller.mkdir()
    with memory_folder() as scratch:
        flags, environment = options(target, scratch)
        result = subprocess.run([*fixed_addresses(), str(program(target)), *flags, "-merge=1", str(smaller), str(corpus)],
                                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if result.returncode == 0 and any(smaller.iterdir()):
        shutil.rmtree(corpus)
        smaller.rename(corpus)


def count(target, run):
    """One line of totals.tsv: target, date, executions, CPU seconds, cov, ft."""
    cov, ft = run.status[-1][1:] if run.status else (0, 0)
    with open(STATE / "totals.tsv", "a") as totals:
        totals.write(f"{target}\t{time.strftime('%Y-%m-%dT%H:%M:%S')}\t{run.executions}\t{run.cpu_seconds:.0f}\t{cov}\t{ft}\n")


def fuzz(target, runs, seconds, minimise=True):
    """Runs until `runs` executions and `seconds` of CPU time are reached. Returns the number of findings."""
    if still := open_findings(target):
        print(f"{target}: fix these findings first: {' '.join(still)}")
        return len(still)
    done, used, found, history = 0, 0.0, 0, []
    seed = int(time.time()) % 1_000_000 + os.getpid()
    while (done < runs or used < seconds) and found < MOST_FINDINGS:
        runs_left, seconds_left = max(0, runs - done), max(0, int(seconds - used))
        run = chunk(target, 0 if seconds_left else runs_left,
                    CHUNK_SECONDS if runs_left else min(CHUNK_SECONDS, max(5, seconds_left)), seed)
        count(target, run)
        history += [(done + at, cov, ft) for at, cov, ft in run.status]
        done, used, seed = done + run.executions, used + run.cpu_seconds, seed + 1
        kept_now, waited = keep_findings(target) if run.crashed else (0, 0)
        found += kept_now
        if not (run.executions or waited) or (run.crashed and not (kept_now or waited)):
            print(f"{target}: the run was ended from outside, or could not begin")
            return found + 1
    if minimise:
        minimise_corpus(target)
    at = lambda share: min(history, key=lambda line: abs(line[0] - done * share), default=(0, 0, 0))
    growth = ", ".join(f"{name} cov {at(share)[1]} ft {at(share)[2]}"
                       for name, share in (("start", 0), ("half", 0.5), ("end", 1)))
    print(f"{target}: {done} executions, {used:.0f} CPU s, {found} findings; {growth}", flush=True)
    return found


def totals():
    sums = {}
    for line in (STATE / "totals.tsv").read_text().splitlines():
        target, _, executions, seconds, cov, ft = line.split("\t")
        before = sums.get(target, (0, 0))
        sums[target] = (before[0] + int(executions), before[1] + int(seconds), cov, ft)
    for target, (executions, seconds, cov, ft) in sums.items():
        print(f"{target:14} {executions:12} executions {seconds:8} CPU s   cov {cov} ft {ft}")


def main():
    parser = argparse.ArgumentParser(prog="tools/fuzz.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", nargs="?", choices=TARGETS, metavar="TARGET", help=", ".join(TARGETS) + "; all")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="executions")
    parser.add_argument("--seconds", type=int, default=0, metavar="N", help="CPU time")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that share the work and the corpus")
    parser.add_argument("--totals", action="store_true", help="print what totals.tsv adds up to")
    parser.add_argument("--short", action="store_true", help="the short run of ./test")
    arguments = parser.parse_args()
    if arguments.totals:
        totals()
        return 0
    if not compiler():
        print("no clang++ with libFuzzer (Debian: clang-14, libclang-rt-14-dev)")
        return 77
    if arguments.short:
        return short(arguments.target)
    build()
    seconds = arguments.seconds or (0 if arguments.runs else 600)
    found = 0
    for target in [arguments.target] if arguments.target else TARGETS:
        share = lambda n: -(-n // arguments.jobs)
        children = []
        for _ in range(arguments.jobs - 1):
            if (child := os.fork()) == 0:
                os._exit(min(100, fuzz(target, share(arguments.runs), share(seconds), minimise=False)))
            children.append(child)
        found += fuzz(target, share(arguments.runs), share(seconds), minimise=not children)
        found += sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
        if children:
            minimise_corpus(target)
    return 1 if found else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

"""Runs one test program each and reads its result. A suite is a GoogleTest binary, a Python test, or a check.

Suite(...).run() gives an Outcome: how many tests passed, failed and were skipped, and what to show of failures.
Nothing here raises for a program that crashes, hangs or prints nonsense: that is one failed test.
"""
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

SUMMARY = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
SHOWN_CHARACTERS = 20_000  # of a failed suite's output: its end


@dataclasses.dataclass
class Outcome:
    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    output: str = ""  # shown where something failed
    notes: list = dataclasses.field(default_factory=list)  # the reasons of skips, each once


def failure(name, why, output="", seconds=0.0):
    """The outcome of a suite that gave no readable result."""
    return Outcome(name, failed=1, seconds=seconds, output=f"{why}\n{output[-SHOWN_CHARACTERS:]}")


def last_line(log):
    """The last whole line of an open file, without moving the place where it is written."""
    size = os.fstat(log.fileno()).st_size
    lines = os.pread(log.fileno(), 4096, max(0, size - 4096)).decode(errors="replace").splitlines()
    return lines[-1] if lines else ""


def execute(command, timeout, environment=None, cwd=None, progress=None):
    """(exit status, output of both streams, seconds); status None where it ran past `timeout` and was killed.

    The program gets its own process group and no terminal, so that whatever it started ends with it. `progress`, if
    given, is called with the seconds so far and the output's last line every 30 seconds.
    """
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=cwd,
                                   env={**os.environ, **(environment or {})}, start_new_session=True)
        try:
            status = None
            while status is None:
                rest = started + timeout - time.monotonic()
                try:
                    status = process.wait(max(0.01, min(rest, 30)))
                except subprocess.TimeoutExpired:
                    if rest <= 30:
                        raise
                    if progress:
                        progress(time.monotonic() - started, last_line(log))
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as stop:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(stop, KeyboardInterrupt):
                raise
            status = None
        log.seek(max(0, log.seek(0, os.SEEK_END) - 4 * SHOWN_CHARACTERS))
        return status, log.read().decode(errors="replace"), time.monotonic() - started


def ending(status, timeout):
    """How a program ended, in words."""
    if status is None:
        return f"ran past {timeout} s and was ended"
    return f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


@dataclasses.dataclass
class GoogleTest:
    """A GoogleTest binary; `gtest_filter` picks tests, `environment` adds variables."""
    name: str
    binary: pathlib.Path
    gtest_filter: str = "*"
    environment: dict = dataclasses.field(default_factory=dict)
    timeout: int = 900
    prefix: tuple = ()  # what the program is started through

    def run(self):
        if not self.binary.exists():
            return failure(self.name, f"{self.binary} was not built")
        with tempfile.TemporaryDirectory(prefix="fathom-tests-") as folder:
            report = pathlib.Path(folder) / "report.json"
            command = [*self.prefix, str(self.binary), f"--gtest_output=json:{report}", f"--gtest_filter={self.gtest_filter}",
                       "--gtest_brief=1"]
            status, output, seconds = execute(command, self.timeout, self.environment)
            try:
                return self.read(json.loads(report.read_text()), status, output, seconds)
            except (OSError, ValueError, KeyError):
                return failure(self.name, ending(status, self.timeout), output, seconds)

    def read(self, report, status, output, seconds):
        """The outcome told by GoogleTest's JSON; a bad exit after a clean report (a leak, say) is a failure too."""
        outcome, broken = Outcome(self.name, seconds=seconds), []
        # The JSON says which tests were skipped; why, only the output does: the line after FILE:LINE: Skipped.
        reasons = [why.strip() for why in re.findall(r": Skipped\n(.*)", output) if why.strip()]
        for test in (test for suite in report["testsuites"] for test in suite["testsuite"]):
            if test.get("result") == "SKIPPED":
                outcome.skipped += 1
                outcome.notes += reasons or [f"{test['classname']}.{test['name']}"]
            elif test.get("failures"):
                outcome.failed += 1
                broken.append(f"{test['classname']}.{test['name']}")
            elif test.get("status") == "RUN":
                outcome.passed += 1
        if status != 0 and not outcome.failed:
            return failure(self.name, ending(status, self.timeout), output, seconds)
        if not outcome.passed and not outcome.failed and not outcome.skipped:
            outcome.skipped, outcome.notes = 1, [f"no test matches {self.gtest_filter}"]
        if outcome.failed:
            outcome.output = "failed: " + ", ".join(broken) + "\n" + output[-SHOWN_CHARACTERS:]
        return outcome


@dataclasses.dataclass
class Script:
    """A Python test whose last line is `N passed, N failed, N skipped`; `skip: WHY` lines give reasons."""
    name: str
    path: pathlib.Path
    environment: dict = dataclasses.field(default_factory=dict)
    timeout: int = 600

    def run(self):
        status, output, seconds = execute([sys.executable, str(self.path)], self.timeout, self.environment)
        lines = [line for line in output.splitlines() if line.strip()]
        counts = SUMMARY.match(lines[-1].strip()) if lines else None
        if not counts:
            return failure(self.name, ending(status, self.timeout) + ", without a last line of counts", output, seconds)
        outcome = Outcome(self.name, *map(int, counts.groups()), seconds=seconds)
        outcome.notes = [line[5:].strip() for line in lines if line.startswith("skip:")]
        if status != 0 and not outcome.failed:
            outcome.failed = 1
            output += f"\n{ending(status, self.timeout)}, although no test failed"
        if outcome.failed:
            outcome.output = output[-SHOWN_CHARACTERS:]
        return outcome


@dataclasses.dataclass
class Check:
    """A tool that is one test: exit status 0 passes, 77 skips (its output says why), all else fails."""
    name: str
    command: list
    timeout: int = 1800

    def run(self):
        status, output, seconds = execute(self.command, self.timeout)
        if status == 0:
            return Outcome(self.name, passed=1, seconds=seconds)
        if status == 77:
            return Outcome(self.name, skipped=1, seconds=seconds, notes=[output.strip()[-200:]])
        return failure(self.name, ending(status, self.timeout), output, seconds)

"""tools/suites.py reads what test programs say, and counts those that say nothing as failed."""
import json
import pathlib
import sys
import tempfile
import unittest

import harness
import suites


def script(text):
    """The Outcome of a Python test with this text."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a_test.py"
        path.write_text(text)
        return suites.Script("a", path, timeout=5).run()


def google(report, status=0, sleep=0):
    """The Outcome of a program that writes `report` where GoogleTest would, and ends with `status`."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a_test"
        path.write_text(f"""#!{sys.executable}
import os, sys, time
time.sleep({sleep})
report = {report!r}
if report is not None:
    open(sys.argv[1].split("json:")[1], "w").write(report)
print("f.cc:1: Skipped\\nno data")
os.kill(os.getpid(), -{status}) if {status} < 0 else sys.exit({status})
""")
        path.chmod(0o755)
        return suites.GoogleTest("a", path, timeout=1 if sleep else 30).run()


def counts(outcome):
    return outcome.passed, outcome.failed, outcome.skipped


TESTS = [
    {"name": "P", "classname": "A", "status": "RUN", "result": "COMPLETED"},
    {"name": "S", "classname": "A", "status": "RUN", "result": "SKIPPED"},
    {"name": "F", "classname": "A", "status": "RUN", "result": "COMPLETED", "failures": [{"failure": "x"}]},
    {"name": "N", "classname": "A", "status": "NOTRUN", "result": "SUPPRESSED"},
]


def as_report(tests):
    return json.dumps({"testsuites": [{"testsuite": tests}]})


class Scripts(unittest.TestCase):
    def test_counts_are_the_last_line(self):
        outcome = script("print('9 passed, 9 failed, 9 skipped'); print('skip: no net'); print('2 passed, 0 failed, 1 skipped')")
        self.assertEqual((2, 0, 1), counts(outcome))
        self.assertEqual(["no net"], outcome.notes)

    def test_no_counts_is_one_failure(self):
        self.assertEqual((0, 1, 0), counts(script("print('hello')")))
        self.assertEqual((0, 1, 0), counts(script("")))

    def test_bad_exit_after_good_counts_is_a_failure(self):
        self.assertEqual((1, 1, 0), counts(script("print('1 passed, 0 failed, 0 skipped'); exit(3)")))

    def test_children_of_a_hanging_script_end_with_it(self):
        outcome = script("import subprocess\nsubprocess.run(['sleep', '600'])")
        self.assertEqual((0, 1, 0), counts(outcome))
        self.assertIn("ran past 5 s", outcome.output)


class GoogleTests(unittest.TestCase):
    def test_report_is_counted(self):
        outcome = google(as_report(TESTS), status=1)
        self.assertEqual((1, 1, 1), counts(outcome))
        self.assertIn("A.F", outcome.output)
        self.assertEqual(["no data"], outcome.notes)

    def test_crash_hang_leak_and_nonsense_are_failures(self):
        self.assertEqual((0, 1, 0), counts(google(None, status=-11)))
        self.assertEqual((0, 1, 0), counts(google(None, status=0, sleep=60)))
        self.assertEqual((0, 1, 0), counts(google(as_report(TESTS[:1]), status=23)))
        self.assertEqual((0, 1, 0), counts(google("{", status=0)))

    def test_a_filter_without_tests_is_a_skip_that_says_so(self):
        outcome = google(as_report([]))
        self.assertEqual((0, 0, 1), counts(outcome))
        self.assertEqual(["no test matches *"], outcome.notes)

    def test_a_missing_program_is_a_failure(self):
        self.assertEqual((0, 1, 0), counts(suites.GoogleTest("a", pathlib.Path("/nowhere/a_test")).run()))


class Checks(unittest.TestCase):
    def test_exit_status_decides(self):
        for status, want in ((0, (1, 0, 0)), (1, (0, 1, 0)), (77, (0, 0, 1))):
            self.assertEqual(want, counts(suites.Check("c", ["sh", "-c", f"exit {status}"]).run()))


if __name__ == "__main__":
    harness.main()

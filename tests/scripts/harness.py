"""What the Python tests share: run(module) ends a unittest file with the line that tools/run_tests.py reads."""
import os
import pathlib
import sys
import unittest

ROOT = pathlib.Path(os.environ.get("FATHOM_SOURCE") or pathlib.Path(__file__).resolve().parents[2])
FATHOM = pathlib.Path(os.environ.get("FATHOM_BIN") or ROOT / "build" / "release" / "src" / "fathom")
sys.path.insert(0, str(ROOT / "tools"))


def main():
    """Runs the calling file's tests; prints `skip: WHY` lines and `N passed, N failed, N skipped`; exits 0 or 1."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=1).run(suite)
    bad = [test for test, _ in result.failures + result.errors] + result.unexpectedSuccesses
    skipped = [test for test, _ in result.skipped]
    # What setUpClass skipped or broke is counted once, though none of its tests began.
    ended = {getattr(test, "test_case", test).id() for test in bad + skipped if isinstance(test, unittest.TestCase)}
    passed = result.testsRun - len(ended)
    for _, why in result.skipped:
        print(f"skip: {why}")
    sys.stderr.flush()
    print(f"{passed} passed, {len(bad)} failed, {len(skipped)} skipped")
    sys.exit(1 if bad else 0)

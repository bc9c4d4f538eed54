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
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    for _, why in result.skipped:
        print(f"skip: {why}")
    sys.stderr.flush()
    print(f"{result.testsRun - failed - len(result.skipped)} passed, {failed} failed, {len(result.skipped)} skipped")
    sys.exit(1 if failed else 0)

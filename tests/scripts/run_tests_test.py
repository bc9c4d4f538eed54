"""tools/run_tests.py: what is left out where time is short, and that it is said."""
import unittest
from unittest import mock

import harness
import run_tests
import suites


class Within(unittest.TestCase):
    def outcomes(self, parts, within, needs):
        """The outcomes of run_parts, where each part takes no time."""
        with mock.patch.object(run_tests, "run_part", lambda part: [suites.Outcome(part, passed=1)]), \
                mock.patch.dict(run_tests.NEEDS, needs):
            return {outcome.name: outcome for outcome in run_tests.run_parts(parts, within)}

    def test_without_a_limit_all_parts_run_in_their_order(self):
        found = self.outcomes(run_tests.PARTS[::-1], None, {})
        self.assertEqual(list(run_tests.PARTS), list(found))
        self.assertTrue(all(outcome.passed == 1 for outcome in found.values()))

    def test_what_would_end_too_late_is_a_skip_with_its_name(self):
        found = self.outcomes(["sanitizers", "checks", "neon"], 100, {"sanitizers": 101, "checks": 99, "neon": 1000})
        self.assertEqual({"sanitizers": 1, "checks": 0, "neon": 1}, {name: o.skipped for name, o in found.items()})
        self.assertIn("./test sanitizers", found["sanitizers"].notes[0])
        self.assertEqual(0, sum(outcome.failed for outcome in found.values()))

    def test_a_fast_first_part_shortens_what_the_others_need(self):
        found = self.outcomes(["release", "tsan"], 100, {"release": 90, "tsan": 300})
        self.assertEqual(1, found["tsan"].passed)


if __name__ == "__main__":
    harness.main()

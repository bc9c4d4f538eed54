#!/bin/sh
# Flips bits of model files and opens and computes with what is left: 100,000 times for each kind of file, or as often
# as the argument says. Needs the tests built (./test, or cmake --build build --target hostile_test).
set -eu
cd "$(dirname "$0")/.."
build=${FATHOM_BUILD:-build}
FATHOM_FLIPS=${1:-100000} exec "$build/tests/hostile_test" --gtest_filter='L8.Flipped*'

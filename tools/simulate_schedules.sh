#!/bin/sh
# Random schedules of the scheduler against each sequence alone (src/engine/schedules_test.cc): how many, from which
# seed. A failure prints the seed that replays it.
#   tools/simulate_schedules.sh [COUNT=100000] [FIRST_SEED=1000000]
cd "$(dirname "$0")/.." || exit 1
export FATHOM_SCHEDULES="${1:-100000}" FATHOM_FIRST_SEED="${2:-1000000}"
for model in qwen2 v3; do
  build/release/src/engine_test --gtest_filter="Models/Schedules.*/$model" || exit 1
done

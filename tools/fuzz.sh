#!/usr/bin/env bash
# Long fuzzing runs: tools/fuzz.sh --help. Needs clang with libFuzzer (Debian and Ubuntu: clang-14 libclang-rt-14-dev).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 tools/fuzz.py "$@"

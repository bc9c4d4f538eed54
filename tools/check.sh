#!/bin/sh
# Format, mistakes and layers, as in ./test; exits with 1 if one of them finds something.
cd "$(dirname "$0")/.." || exit 1
status=0
for check in layers format tidy; do
  python3 "tools/check_$check.py" || status=1
done
exit $status

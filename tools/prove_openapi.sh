#!/bin/bash
# Proves that what /openapi.json says is true: schemathesis asks a running server for what the description allows, and for
# what it does not, from a fixed seed. Needs a build with the tests' tiny model, Python and PyPI (into build/schemathesis).
# Usage: tools/prove_openapi.sh [BUILD FOLDER] [OPTION OF SCHEMATHESIS...]    Exits 1 on a violation.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build/release}
shift $(($# > 0 ? 1 : 0))
tool=$PWD/build/schemathesis
[ -x "$tool/bin/schemathesis" ] || { python3 -m venv "$tool" && "$tool/bin/pip" install -q schemathesis==4.32.5; }

# A model with random weights: words that mean nothing come fast.
home=$(mktemp -d)
key=proof-$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
FATHOM_API_KEY=$key FATHOM_HOME=$home "$build/src/fathom" serve tests/golden/gguf/qwen2.gguf --template tests/clients/thinking.jinja --port 0 \
  --ctx 512 --max-tokens 8 --seed 1 --access-log off 2>"$home/log" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; rm -rf "$home"' EXIT
until url=$(grep -oE 'http://127.0.0.1:[0-9]+' "$home/log"); do
  kill -0 $server 2>/dev/null || { cat "$home/log" && exit 1; }
  sleep 0.1
done

# Not positive_data_acceptance: that a grammar compiles or a message has content is more than a schema of fields can say.
(cd "$home" && "$tool/bin/schemathesis" run "$url/openapi.json" --url "$url" --header "Authorization: Bearer $key" --seed 1 --max-examples 30 --workers 2 --generation-deterministic \
  --phases examples,coverage,fuzzing --exclude-checks positive_data_acceptance --request-timeout 60 "$@")
kill -0 $server  # it has lived through all of it

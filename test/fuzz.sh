#!/usr/bin/env bash
# Runs every fuzz target of the module: test/fuzz.sh [TIME]
# Each package's binary is built once, for all of its targets, and as many targets run at a time as
# there are cores, one worker each. A crasher is written below the package's testdata/fuzz, and fails
# the run; what a target says is shown when it failed.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${1:-30s}
export CORPUS="$(go env GOCACHE)/fuzz/$(go list -m)"
export BIN="$(mktemp -d)"
trap 'rm -rf "$BIN"' EXIT

targets() { # "DIR TARGET" a line
  git ls-files '*_test.go' | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed -E 's|^(.*)/[^/]*:func |\1 |' | sort -u
}

binary() { echo "$BIN/${1//\//_}.test"; }

fuzz() {
  local dir=$1 target=$2 log
  log="$BIN/$target.${dir//\//_}.log"
  if ! (cd "$dir" && "$(binary "$dir")" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$FUZZTIME" \
    -test.parallel 1 -test.fuzzcachedir "$CORPUS/$dir") >"$log" 2>&1; then
    echo "FAIL ./$dir $target"
    cat "$log"
    return 1
  fi
  echo "ok   ./$dir $target: $(grep -oE 'execs: [0-9]+' "$log" | tail -1)"
}
export -f fuzz binary

for dir in $(targets | cut -d' ' -f1 | sort -u); do
  go test -c -fuzz=. -o "$(binary "$dir")" "./$dir"
done
targets | xargs -P "$(nproc)" -L1 bash -c 'fuzz "$0" "$1"'

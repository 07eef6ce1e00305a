#!/usr/bin/env bash
# Runs every fuzz target of the module, or those whose directory or name holds WORD: test/fuzz.sh [TIME [WORD]]
# Each package's binary is built once, for all of its targets, and as many targets run at a time as
# there are cores, one worker each. A crasher is written below the package's testdata/fuzz, and fails
# the run; what a target says is shown when it failed.
#
# A target is ended with SIGINT when its time is over, and has no -test.fuzztime: with that, an engine
# older than Go 1.27 may take its own deadline for a failure (go.dev/issue/75804), and says "context
# deadline exceeded" on a machine that does much else. What is found before the signal fails the run
# all the same, also while it is made smaller; the signal itself is no failure and hides none.
# Of each input that reaches something new, the engine looks for a smaller one, for a minute if it may;
# here it may try a few hundred, or it would do nothing else for all of the time.
set -euo pipefail
cd "$(dirname "$0")/.."
export FUZZTIME=${1:-30s}
WORD=${2:-}
export CORPUS="$(go env GOCACHE)/fuzz/$(go list -m)"
export BIN="$(mktemp -d)"
trap 'rm -rf "$BIN"' EXIT

targets() { # "DIR TARGET" a line
  git ls-files '*_test.go' | xargs grep -HoE '^func Fuzz[A-Za-z0-9_]*' | sed -E 's|^(.*)/[^/]*:func |\1 |' | sort -u | grep -F -- "$WORD"
}

binary() { echo "$BIN/${1//\//_}.test"; }

fuzz() {
  local dir=$1 target=$2 log
  log="$BIN/$target.${dir//\//_}.log"
  if ! (cd "$dir" && timeout --foreground --preserve-status --signal INT --kill-after 2m "$FUZZTIME" \
    "$(binary "$dir")" -test.run '^$' -test.fuzz "^$target\$" -test.fuzzminimizetime 300x \
    -test.parallel 1 -test.fuzzcachedir "$CORPUS/$dir") >"$log" 2>&1; then
    echo "FAIL ./$dir $target"
    cat "$log"
    return 1
  fi
  # "execs: 1234 (56/sec), new interesting: 7 (total: 89)": what is in the cache of earlier runs counts as well.
  echo "ok   ./$dir $target: $(grep -oE 'execs: .*' "$log" | tail -1)"
}
export -f fuzz binary

for dir in $(targets | cut -d' ' -f1 | sort -u); do
  go test -c -fuzz=. -o "$(binary "$dir")" "./$dir"
done
targets | xargs -P "$(nproc)" -L1 bash -c 'fuzz "$0" "$1"'

#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other: test/fuzz.sh [TIME]
# A crasher is written below the package's testdata/fuzz and fails the run.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
status=0
while read -r file; do
  dir=$(dirname "$file")
  for target in $(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$file"); do
    echo "fuzz ./$dir $target"
    go test "./$dir" -run '^$' -fuzz "^$target\$" -fuzztime "$time" || status=1
  done
done < <(git ls-files '*_test.go' | xargs grep -lE '^func Fuzz' | sort)
exit $status

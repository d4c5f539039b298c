#!/usr/bin/env bash
# Runs the tests on every supported Python that is at hand: on PATH, or installed by pyenv.
set -euo pipefail
cd "$(dirname "$0")/.."

tried=0
for version in 3.11 3.12 3.13; do
    found=""
    for candidate in "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit(sys.version_info[:2] != tuple(map(int, '$version'.split('.'))))" 2>/dev/null; then
            found=$candidate
            break
        fi
    done
    if [ -z "$found" ]; then
        echo "== Python $version: not at hand"
        continue
    fi
    echo "== Python $version: $found"
    make test PYTHON="$found" VENV=".venv-$version"
    tried=$((tried + 1))
done
[ "$tried" -gt 0 ] || { echo "no supported Python found"; exit 1; }

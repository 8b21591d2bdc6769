#!/usr/bin/env bash
# Bring .venv to the wanted state: tools/venv.sh [EXTRA ...], extras of pyproject.toml (none: the library alone).
#
# Costs nothing where it is already there. A stamp in .venv says what was installed from which pyproject.toml and
# constraints.txt, at which place; without a fitting stamp the installation is done (again). An installation that was
# interrupted leaves its mark, and the next one starts from an empty folder.
set -euo pipefail
cd -P "$(dirname "$0")/.."

say() { printf '[setup] %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

venv=.venv
building=$venv/.moereg-building

# Two makes at once would install into each other; the second one waits.
if [ "${MOEREG_SETUP_LOCKED:-}" != yes ] && command -v flock >/dev/null; then
    MOEREG_SETUP_LOCKED=yes exec flock tools/venv.sh tools/venv.sh "$@"
fi

wanted=$( { cat pyproject.toml constraints.txt tools/venv.sh; pwd; } | cksum)
stamp() { printf '%s/.moereg-%s' "$venv" "$1"; }
recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
# The scripts of a virtual environment hold its path: one that was moved or copied is of no use.
usable() { recent "$venv/bin/python" && grep -qF "$PWD/$venv" "$venv/bin/activate"; }
fresh() { [ "$(cat "$(stamp "$1")" 2>/dev/null)" = "$wanted" ]; }

missing=()
for part in library "$@"; do fresh "$part" || missing+=("$part"); done
[ ! -e "$building" ] && usable && [ ${#missing[@]} -eq 0 ] && exit 0

find_python() {
    local candidate candidates=(python3.11 python3.12 python3.13 python3)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if recent "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed; none of these is: ${candidates[*]}. Install one, or name it: make PYTHON=/path/to/python3.11"
}

if [ -e "$building" ] || ! usable; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python cannot make virtual environments because its ensurepip module is missing; on Debian and Ubuntu: apt-get install python3-venv"
    [ ! -e "$venv" ] || say "an unfinished, broken or moved $venv is removed"
    rm -rf "$venv"
    mkdir "$venv"
    touch "$building"
    say "1/3 $venv with $("$python" --version)"
    "$python" -m venv "$venv"
fi
touch "$building"

pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
extras=$(IFS=,; echo "$*")
say "2/3 torch (the largest part)"
pip install --quiet --constraint constraints.txt torch
say "3/3 moereg${extras:+ with $extras}"
pip install --quiet --constraint constraints.txt --editable ".${extras:+[$extras]}"

for part in library "$@"; do echo "$wanted" > "$(stamp "$part")"; done
rm "$building"
say "done: $(du -sm "$venv" | cut -f1) MB in $venv"

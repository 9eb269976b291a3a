#!/bin/sh
# Checks that the machine has what a build needs, and installs it where this is root on a Debian-like system.
# $1: the Python interpreter.
set -eu
python=$1
missing=""
command -v c++ >/dev/null 2>&1 || missing="$missing g++"
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || missing="$missing python3-venv"
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get -q update && apt-get -q -y install $missing
  else
    echo "error: install$missing first (Debian, Ubuntu: sudo apt-get install$missing)" >&2
    exit 1
  fi
fi
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || {
  echo "error: $python is not Python 3.10 to 3.13; name another: make PYTHON=python3.12 ..." >&2
  exit 1
}

#!/bin/sh
# Checks that the machine has what a build needs, and installs it where this is root on a Debian-like system.
# $1: the Python interpreter. $2: "browser" tries to install what the browser tests need, and nothing else; without it
# those tests are skipped.
set -eu
python=$1
if [ "${2:-}" = browser ]; then
  if ! command -v chromedriver >/dev/null 2>&1 && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    { apt-get -q update && apt-get -q -y install --no-install-recommends chromium chromium-driver; } ||
      echo "note: chromium could not be installed; its tests are skipped" >&2
  fi
  exit 0
fi
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

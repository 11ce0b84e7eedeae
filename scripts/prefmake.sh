#!/bin/sh
# The command line `prefmake`. `make setup` copies this file to .venv/bin/prefmake; it runs the
# checkout that it lies in, from any folder and through symlinks.
checkout=$(dirname "$(readlink -f "$0")")/../..
checkout=$(cd "$checkout" && pwd)
PYTHONPATH=$checkout exec "$checkout/.venv/bin/python" -P -m scripts "$@"

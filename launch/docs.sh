#!/usr/bin/env bash
# Builds the site into build/site in a virtual environment of its own (.venv-docs); a warning is an error.
#   bash launch/docs.sh          then open build/site/index.html; nothing is fetched to read it
# What Sphinx takes can be added, e.g. -E to forget earlier builds.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

use_venv .venv-docs --editable '.[docs]'
python -m sphinx --quiet --fail-on-warning --keep-going --builder html "$@" docs build/site
echo "open $PWD/build/site/index.html"

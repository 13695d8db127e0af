#!/bin/sh
# Install switchrecon with its service parts into an empty virtual environment.
#
# Usage: deploy/install.sh FOLDER [what pip installs; default: this source]
# TORCH_INDEX: where torch comes from, such as https://download.pytorch.org/whl/cpu or .../whl/cu126; default: pip's own.
set -eu
folder=$1
here=$(cd "$(dirname "$0")/.." && pwd)
source=${2:-$here}
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --constraint "$here/constraints.txt" \
    ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
"$folder/bin/python" -m pip install --quiet --constraint "$here/constraints.txt" "$source[service,twix]"
"$folder/bin/switchrecon" --version

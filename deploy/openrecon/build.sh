#!/bin/sh
# Make an OpenRecon package: a zip of the image and a PDF, both of one name.
#
# Usage: deploy/openrecon/build.sh RUNS OUT [PDF]
# RUNS: folder of run folders, which go into the image. PDF: the manual; without it pandoc makes one of manual.md.
# Needs docker (older than 25, as OpenRecon's site asks for) and the image switchrecon:cpu; see ../Containerfile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
runs=$1 out=$2
name=$(python3 "$here/label.py" "$runs" --name)
tag=$(python3 "$here/label.py" "$runs" --tag)
metadata=$(python3 "$here/label.py" "$runs" --encode)
mkdir -p "$out"
work=$(mktemp -d "$out/.partial-XXXXXX")
trap 'rm -rf "$work"' EXIT
cp -rL "$runs" "$work/runs"
if [ $# -gt 2 ]; then cp "$3" "$work/$name.pdf"; else pandoc "$here/manual.md" -o "$work/$name.pdf"; fi
docker build --platform linux/amd64 --build-arg METADATA="$metadata" -f "$here/Containerfile" -t "$tag" "$work"
docker save -o "$work/$name.tar" "$tag"
(cd "$work" && python3 - "$name" <<'PYTHON'
import sys, zipfile
name = sys.argv[1]
with zipfile.ZipFile(f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as package:
    for ending in ("tar", "pdf"):
        package.write(f"{name}.{ending}")
PYTHON
)
mv "$work/$name.zip" "$out/$name.zip"
echo "written: $out/$name.zip"

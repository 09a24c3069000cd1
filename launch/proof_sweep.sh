#!/usr/bin/env bash
# Tries what may make training on few videos better: settings one after the other, each trained for the same steps and
# measured on tennis and composed sequences. A table grows, and a second start goes on where the first one stopped.
#   bash launch/proof_sweep.sh DATA_DIR --minutes=M [--size=gpu] [--settings="branches branches,decay"] [--steps=N]
#   bash launch/proof_sweep.sh DATA_DIR --pack     packs what that needs, 57 MB, for a machine without DATA_DIR
#   bash launch/proof_sweep.sh PACK --minutes=M ...
# DATA_DIR holds kinetics_like/, davis_train_clips/ and davis_like/, as for launch/real_proof.sh; the pack is written to
# runs/proof_sweep/pack. Its records are whole videos at 12 frames a second, without tennis, over which the composed
# sequences are made. The six sequences that the proof reports are not in it.
# Settings are variants of configs/proof_sweep.py, which tells what each is; --size=gpu is the release's size of a step,
# some 40 s of training on an H200 for each setting's 1000 steps. Results: runs/proof_sweep/SIZE/table.md.
# The pack holds this package too: on a machine without a network PYTHON names a Python that has what it depends on.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
source launch/venv.sh

fail() { echo "error: $1" >&2 && exit 2; }
(($#)) || fail "give the folder of the data: bash launch/proof_sweep.sh DATA_DIR --minutes=M"
data=$(cd "$caller" && realpath -m "$1") && shift
only_pack='' size=cpu minutes='' flags=()
for argument; do
  case $argument in
    --pack) only_pack=yes ;;
    --size=*) size=${argument#*=} && flags+=("$argument") ;;
    --minutes=*) minutes=${argument#*=} && flags+=("$argument") ;;
    --settings=* | --steps=*) flags+=("$argument") ;;
    *) fail "unknown argument $argument; there are --minutes, --size, --settings, --steps and --pack" ;;
  esac
done
[[ $only_pack || $minutes ]] || fail "--minutes is missing: no setting is started that would end later"
pack=runs/proof_sweep/pack
if [[ -f $data/records/manifest.json ]]; then
  pack=$data
else
  for part in kinetics_like davis_train_clips davis_like; do
    [[ -d $data/$part ]] || fail "$data/$part: no such folder; DATA_DIR holds it, or is a pack"
  done
fi
if [[ ${PYTHON:-} ]]; then
  python() { PYTHONPATH=$pack/site "$PYTHON" "$@"; }
elif ! command -v vfs-prepare >/dev/null; then
  extra=$(accelerator)
  use_venv .venv-proof --editable ".[compose${extra:+,$extra}]"
fi

if [[ $pack != "$data" ]]; then
  mkdir -p "$pack"
  find "$data/kinetics_like" "$data/davis_train_clips" -type f ! -name '*.txt' ! -name 'tennis.*' | sort >"$pack/clips.txt"
  [[ -f $pack/records/manifest.json ]] ||
    vfs-prepare all --list="$pack/clips.txt" --out="$pack/records" --fps=12 --quality=80 --shards=1
  if [[ ! -d $pack/composed ]]; then
    vfs-prepare compose --videos="$data/davis_train_clips/tennis.mp4" --out="$pack.compose"
    mv "$pack.compose/davis" "$pack/composed" && rm -r "$pack.compose"
  fi
  for part in JPEGImages Annotations; do
    mkdir -p "$pack/tennis/$part/480p"
    cp -r "$data/davis_like/$part/480p/tennis" "$pack/tennis/$part/480p"
  done
  mkdir -p "$pack/tennis/ImageSets/2017" && echo tennis >"$pack/tennis/ImageSets/2017/train.txt"
  python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --upgrade --target "$pack/site" .
  echo "packed $(du -sh "$pack" | cut -f1) in $pack"
fi
[[ $only_pack ]] || python launch/proof_sweep.py "$pack" "runs/proof_sweep/$size" "${flags[@]}"

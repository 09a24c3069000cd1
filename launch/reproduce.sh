#!/usr/bin/env bash
# Reproduces the paper's table: from Kinetics-400 to trained weights to scores beside the published ones.
#   bash launch/reproduce.sh --kinetics=DIR --davis=DIR [--jhmdb=DIR] [--vip=DIR] [--otb=DIR --got10k=DIR]
#                            [--out=DIR] [--recipes="r18_fine r50_fine r18_object r50_object"] [--hosts=A,B,...]
#                            [--topology=h100:8] [--dry-run] [--smoke] [-- FLAGS]
# How the folders look: vfs-prepare help kinetics, davis, jhmdb, vip, otb, got10k. OTB's tracker head learns on GOT-10k.
# --recipes    which of configs/vfs_*.py; those with colors (object) are for OTB, the others for DAVIS, JHMDB and VIP
# --hosts      trains on all devices of these machines, launch/hosts.sh
# --topology   devices that vfs-plan is asked about, which says if the recipes fit and how long they take at least
# --dry-run    foretells and prints the commands alone; --smoke runs all of them for moments: the table means nothing
# FLAGS go to every vfs-train, as --config.dtype=bfloat16.
# Before anything starts it is told what each stage takes. Run it again and it goes on where it stopped.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
source launch/venv.sh

fail() { echo "error: $1" >&2 && exit 2; }
declare -A data
out=runs/reproduce recipes='r18_fine r50_fine r18_object r50_object' hosts='' topology='' dry_run='' smoke='' cut=() flags=()
while (($#)); do
  case $1 in
    --kinetics=* | --davis=* | --jhmdb=* | --vip=* | --otb=* | --got10k=*)
      name=${1%%=*} && name=${name#--}
      data[$name]=$(cd "$caller" && realpath -m "${1#*=}")
      [[ -d ${data[$name]} ]] || fail "${1%%=*}=${1#*=}: no such folder; vfs-prepare help $name tells how it looks"
      ;;
    --out=*) out=$(cd "$caller" && realpath -m "${1#*=}") ;;
    --recipes=*) recipes=${1#*=} ;;
    --hosts=*) hosts=${1#*=} ;;
    --topology=*) topology=${1#*=} ;;
    --dry-run) dry_run=yes ;;
    --smoke) smoke=,smoke cut=(--config.max_frames=4) ;;
    --) shift && flags=("$@") && break ;;
    *) fail "unknown argument $1; the head of launch/reproduce.sh lists them" ;;
  esac
  shift
done
for name in kinetics davis; do
  [[ ${data[$name]-} ]] || fail "--$name is missing; vfs-prepare help $name tells where it comes from and how it looks"
done
[[ -z ${data[otb]-} || ${data[got10k]-} ]] || fail "--otb needs --got10k too: the tracker's head learns on it"
for recipe in $recipes; do
  [[ -f configs/vfs_$recipe.py ]] || fail "--recipes: there is no configs/vfs_$recipe.py"
done

starter=()
[[ ! $hosts ]] || starter=(bash launch/hosts.sh "$hosts")
extra=$(accelerator)
[[ $(command -v vfs-train) ]] || use_venv .venv-reproduce --editable ".${extra:+[$extra]}"
foretell() { python launch/reproduce.py foretell "$out" "${data[davis]}" "$recipes" "$topology" "${flags[@]}"; }

# stage NAME COMMAND...: runs a command, unless an earlier run has finished it.
stage() {
  local name=$1
  shift
  if [[ $dry_run ]]; then
    printf '%q ' "$@" && echo
  elif [[ -e $out/done/$name ]]; then
    echo "== $name: done before"
  else
    echo "== $name: $*"
    "$@"
    touch "$out/done/$name"
  fi
}

if [[ ! $dry_run ]]; then
  mkdir -p "$out/done" "$out/given" "$out/weights"
  for name in "${!data[@]}"; do # finished stages are of the data that they were given
    given=$out/given/$name
    [[ -e $given ]] || echo "${data[$name]}" >"$given"
    [[ $(<"$given") == "${data[$name]}" ]] || fail "--$name=${data[$name]}: $out was begun with $(<"$given"); name another --out"
  done
  kind=${smoke:+with} && kind=${kind:-without}
  [[ -e $out/given/smoke ]] || echo "$kind" >"$out/given/smoke"
  [[ $(<"$out/given/smoke") == "$kind" ]] || fail "$out was begun $(<"$out/given/smoke") --smoke; name another --out"
fi

stage index vfs-prepare index --kinetics="${data[kinetics]}" --out="$out/records"
foretell
stage convert vfs-prepare convert --out="$out/records"
stage finalize vfs-prepare finalize --out="$out/records"
stage verify vfs-prepare verify --out="$out/records"
[[ $dry_run ]] || python launch/reproduce.py count "$out"

for recipe in $recipes; do
  depth=${recipe%%_*}
  stage "train-$recipe" "${starter[@]}" vfs-train --config="configs/vfs_$recipe.py${smoke:+:smoke}" \
    --workdir="$out/train-$recipe" --config.data="$out/records" "${flags[@]}"
  stage "weights-$recipe" vfs-convert "$out/train-$recipe" "$out/weights/$recipe.safetensors"
  weights=$out/weights/$recipe.safetensors
  if [[ $recipe != *object* ]]; then
    for task in davis jhmdb vip; do
      [[ ${data[$task]-} ]] || continue
      stage "$task-$recipe" vfs-eval --config="configs/$task.py:$depth$smoke" --workdir="$out/$task-$recipe" \
        --config.data="${data[$task]}" --config.weights="$weights"
    done
  elif [[ ${data[otb]-} ]]; then
    stage "head-$recipe" vfs-train-tracker --config="configs/siamfc.py:$depth$smoke" --workdir="$out/head-$recipe" \
      --config.data="${data[got10k]}" --config.weights="$weights"
    stage "otb-$recipe" vfs-eval-tracker --config="configs/otb.py:$depth$smoke" --workdir="$out/otb-$recipe" \
      --config.data="${data[otb]}" --config.weights="$out/head-$recipe" "${cut[@]}"
  fi
done
[[ $dry_run ]] || python launch/reproduce.py table "$out" "$recipes"

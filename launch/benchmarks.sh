#!/usr/bin/env bash
# Speeds, measured on a quiet machine and kept: figures are added to docs/benchmarks.json, docs/benchmarks.svg shows all.
#   bash launch/benchmarks.sh                                    those that need no data
#   bash launch/benchmarks.sh --data=DAVIS --videos=DIR          all; DAVIS with the sequence blackswan, some videos
#   bash launch/benchmarks.sh --anyway                           on a busy machine too: only to see that it runs
# A quarter of an hour on two cores. A commit is kept with every figure, so commit first. See tests/benchmarks for each alone.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
source launch/venv.sh

data='' videos='' anyway=''
for argument in "$@"; do
  case $argument in
    --data=*) data=$(cd "$caller" && realpath -e "${argument#*=}") ;;
    --videos=*) videos=$(cd "$caller" && realpath -e "${argument#*=}") ;;
    --anyway) anyway=yes ;;
    *) echo "error: unknown argument $argument; there are --data=DIR, --videos=DIR and --anyway" >&2 && exit 2 ;;
  esac
done

# One process that waits for its disk is no load; one that computes is.
read -r load _ </proc/loadavg
if awk "BEGIN { exit !($load > 0.3 + 0.05 * $(nproc)) }" && [[ -z $anyway ]]; then
  echo "error: this machine is busy, its load is $load: wait until it is quiet, or say --anyway" >&2
  exit 1
fi

use_venv .venv-test --editable '.[test]'
out=runs/benchmarks
mkdir -p "$out"
measure() { # NAME FLAG...
  echo "== $1"
  python "tests/benchmarks/$1.py" "${@:2}" --keep=docs/benchmarks.json
}

measure operators --out="$out/operators"
measure training step
measure tracking
if [[ -n $data ]]; then
  measure evaluation --data="$data" --out="$out/evaluation"
  measure dino --data="$data" --out="$out/dino"
  measure scoring --data="$data" --out="$out/scoring"
fi
if [[ -n $videos ]]; then
  measure preparation --videos="$videos" --repeat=6 # fewer: the starts of the processes are all that is seen
fi
python tests/benchmarks/kept_chart.py docs/benchmarks.json docs/benchmarks.svg
git --no-pager diff --stat -- docs/benchmarks.json docs/benchmarks.svg

#!/usr/bin/env bash
# Starts a run of several processes on this machine; with one process it is the command alone.
#   bash launch/local.sh [--processes N] [--devices M] [--dry-run] vfs-train --config=... --workdir=... ...
# On CPUs every process gets M virtual devices; on GPUs (launch/gpu.env, ACCELERATOR=gpu) process i gets M of them, from
# number i * M on. SIGTERM and Ctrl-C reach all processes, which save and end. Where one fails the others are ended too,
# since they would wait for it for ever; the status is that of the first one that failed.
# PORT names the port through which the processes find each other, GRACE the seconds that they have to end.
set -euo pipefail
processes=1 devices=1 dry_run=''
while [[ ${1:-} == --* ]]; do
  case $1 in
    --processes) processes=${2:?--processes needs a number} && shift 2 ;;
    --devices) devices=${2:?--devices needs a number} && shift 2 ;;
    --dry-run) dry_run=yes && shift ;;
    *) echo "error: unknown argument $1; there are --processes N, --devices M and --dry-run" >&2 && exit 2 ;;
  esac
done
(($#)) || { echo "error: no command; give e.g. vfs-train --config=configs/quickstart.py --workdir=DIR" >&2 && exit 2; }
[[ $processes =~ ^[1-9][0-9]*$ && $devices =~ ^[1-9][0-9]*$ ]] || { echo "error: --processes and --devices are numbers from 1 on" >&2 && exit 2; }

port=${PORT:-$((20000 + RANDOM % 12000))}
# The lines of an env file are KEY=VALUE; "env" sets them for the command alone.
file=$(dirname "$0")/${ACCELERATOR:-cpu}.env
[[ -f $file ]] || { echo "error: ACCELERATOR=${ACCELERATOR:-cpu}: no $file" >&2 && exit 2; }
mapfile -t settings < <(grep -v '^#' "$file")

pids=()
for ((index = 0; index < processes; index++)); do
  place=()
  case ${ACCELERATOR:-cpu} in
    cpu) place=("XLA_FLAGS=${XLA_FLAGS:-} --xla_force_host_platform_device_count=$devices") ;;
    gpu) place=("CUDA_VISIBLE_DEVICES=$(seq -s, $((index * devices)) $(((index + 1) * devices - 1)))") ;;
  esac
  command=(env "${settings[@]}" "${place[@]}" "$@")
  ((processes == 1)) || command+=("--processes=localhost:$port,$index,$processes")
  if [[ $dry_run ]]; then
    printf '%q ' "${command[@]}" && echo
  else
    "${command[@]}" &
    pids+=($!)
  fi
done
[[ ! $dry_run ]] || exit 0

trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT
status=0 running=$processes killer=''
while ((running)); do
  code=0 ended=''
  wait -n -p ended "${pids[@]}" || code=$?
  [[ ${ended:-} ]] || continue # a signal came, not an end
  running=$((running - 1))
  mapfile -t pids < <(printf '%s\n' "${pids[@]}" | grep -vx "$ended")
  if ((code && !status)); then
    status=$code
    if ((running)); then
      (sleep "${GRACE:-60}" && kill -KILL "${pids[@]}") >/dev/null 2>&1 & # holds no pipe open
      killer=$!
    fi
  fi
done
[[ ! $killer ]] || kill "$killer" 2>/dev/null || true
exit "$status"

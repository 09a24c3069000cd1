#!/usr/bin/env bash
# Starts a run of one process on each of several machines, by ssh, in this folder of a file system that they share.
#   bash launch/hosts.sh A,B,... [--dry-run] vfs-train --config=... --workdir=... ...
# The machines are reached without a password and have what PATH names here. Where one process fails the others notice
# and end; the status is that of the first machine whose process did. PORT names the port of A where the processes find each other.
set -euo pipefail
IFS=, read -ra hosts <<<"${1:-}"
dry_run=''
if [[ ${2:-} == --dry-run ]]; then dry_run=yes && set -- "$1" "${@:3}"; fi
((${#hosts[@]} && $# > 1)) || { echo "error: give A,B,... and a command, e.g. vfs-train --config=configs/quickstart.py --workdir=DIR" >&2 && exit 2; }
shift

pids=()
for index in "${!hosts[@]}"; do
  words=(env "PATH=$PATH" "$@" "--processes=${hosts[0]}:${PORT:-12321},$index,${#hosts[@]}")
  remote="cd $(printf %q "$PWD") && $(printf '%q ' "${words[@]}")"
  if [[ $dry_run ]]; then
    printf '%q ' ssh "${hosts[index]}" "$remote" && echo
  else
    # shellcheck disable=SC2029 # the folder and PATH are those of here
    ssh "${hosts[index]}" "$remote" &
    pids+=($!)
  fi
done
status=0
for pid in "${pids[@]}"; do
  code=0
  wait "$pid" || code=$?
  status=$((status ? status : code))
done
exit "$status"

#!/usr/bin/env bash
# Converts the videos of an index on a Flink cluster:
#   vfs-prepare index --videos=/shared/videos --out=/shared/records
#   FLINK_MASTER=host:8081 bash launch/prepare_flink.sh /shared/records [flags of vfs-prepare convert ...]
#   vfs-prepare finalize --out=/shared/records && vfs-prepare verify --out=/shared/records
# Every task manager has this package installed for $WORKER_PYTHON's Beam, whose boot program $BEAM_BOOT starts, and sees
# the videos and the records under the same paths as this machine. Set PARALLELISM to the number of cores of all of them.
# DRY_RUN=1 prints the command and the job graph and submits nothing.
set -euo pipefail
out=${1:?the folder of the records, with its index} && shift
command=(
  vfs-prepare convert "--out=$out" --runner=FlinkRunner "$@" --
  "--flink_master=${FLINK_MASTER:?host:port of the job manager}"
  "--parallelism=${PARALLELISM:-16}"
  --environment_type=PROCESS
  "--environment_config={\"command\": \"${BEAM_BOOT:-/opt/apache/beam/boot}\"}"
)
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}" && echo
  command=("${command[@]:0:2}" --graph "${command[@]:2}")
fi
exec "${command[@]}"

#!/usr/bin/env bash
# A run on TPU slices of a GKE cluster through xpk (pip install xpk), in the image that launch/Dockerfile makes:
#   docker build -f launch/Dockerfile --build-arg EXTRA=tpu -t IMAGE . && docker push IMAGE
#   CLUSTER=... PROJECT=... ZONE=... IMAGE=... bash launch/xpk.sh NAME v5litepod-256 \
#     vfs-train --config=... --workdir=/mnt/shared/NAME ...
# SLICES is the number of slices, RESTARTS how often a failed or preempted run starts again, with the same workdir.
# STORAGE names the xpk storage (xpk storage create) that holds records and workdirs. --dry-run in front of NAME prints
# the command and submits nothing.
set -euo pipefail
dry_run=''
if [[ ${1:-} == --dry-run ]]; then
  dry_run=yes && shift
fi
name=${1:?a name for the workload} type=${2:?the TPU type, say v5litepod-256} && shift 2
(($#)) || { echo "error: no command; give e.g. vfs-train --config=configs/vfs_r50_fine.py --workdir=DIR" >&2 && exit 2; }
settings=$(grep -v '^#' "$(dirname "$0")/tpu.env" | tr '\n' ' ')
command=(
  xpk workload create
  "--workload=$name"
  "--tpu-type=$type"
  "--num-slices=${SLICES:-1}"
  "--max-restarts=${RESTARTS:-100}"
  "--cluster=${CLUSTER:?the GKE cluster}"
  "--project=${PROJECT:?the Google Cloud project}"
  "--zone=${ZONE:?the zone}"
  "--docker-image=${IMAGE:?the image, made by launch/Dockerfile}"
  ${STORAGE:+"--storage=$STORAGE"}
  "--command=exec env $settings$(printf '%q ' "$@" --processes=auto)"
)
if [[ $dry_run ]]; then
  printf '%q ' "${command[@]}" && echo
  exit 0
fi
exec "${command[@]}"

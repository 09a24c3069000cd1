#!/usr/bin/env bash
# Converts the videos of an index on Google Cloud Dataflow (pip install 'apache-beam[gcp]' on this machine):
#   vfs-prepare index --videos=/shared/videos --out=/shared/records
#   PROJECT=... REGION=... BUCKET=gs://... IMAGE=... bash launch/prepare_dataflow.sh /shared/records [flags ...]
#   vfs-prepare finalize --out=/shared/records && vfs-prepare verify --out=/shared/records
# $IMAGE is a Beam SDK container with this package in it, whose entry point mounts the share (Filestore, say) that holds
# the videos and the records under the same paths as here; $BUCKET holds Dataflow's own files alone.
# DRY_RUN=1 prints the command and the job graph and submits nothing.
set -euo pipefail
out=${1:?the folder of the records, with its index} && shift
command=(
  vfs-prepare convert "--out=$out" --runner=DataflowRunner "$@" --
  "--project=${PROJECT:?the Google Cloud project}"
  "--region=${REGION:?the region, say europe-west4}"
  "--temp_location=${BUCKET:?gs://BUCKET}/tmp"
  "--sdk_container_image=${IMAGE:?the container image of the workers}"
  "--max_num_workers=${MAX_WORKERS:-16}"
  "--machine_type=${MACHINE_TYPE:-n2-standard-4}"
  --experiments=use_runner_v2
)
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}" && echo
  command=("${command[@]:0:2}" --graph "${command[@]:2}")
fi
exec "${command[@]}"

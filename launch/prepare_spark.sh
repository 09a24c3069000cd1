#!/usr/bin/env bash
# Converts the videos of an index on a Spark cluster, through Beam's Spark job server (which runs beside the master):
#   vfs-prepare index --videos=/shared/videos --out=/shared/records
#   JOB_SERVER=host:8099 bash launch/prepare_spark.sh /shared/records [flags of vfs-prepare convert ...]
#   vfs-prepare finalize --out=/shared/records && vfs-prepare verify --out=/shared/records
# Every executor has this package installed beside Beam, whose boot program is $BEAM_BOOT, and sees the videos and the
# records under the same paths as this machine. DRY_RUN=1 prints the command and the job graph and submits nothing.
set -euo pipefail
out=${1:?the folder of the records, with its index} && shift
command=(
  vfs-prepare convert "--out=$out" --runner=SparkRunner "$@" --
  "--job_endpoint=${JOB_SERVER:?host:port of the Beam job server for Spark}"
  --environment_type=PROCESS
  "--environment_config={\"command\": \"${BEAM_BOOT:-/opt/apache/beam/boot}\"}"
)
if [[ -n ${DRY_RUN:-} ]]; then
  printf '%q ' "${command[@]}" && echo
  command=("${command[@]:0:2}" --graph "${command[@]:2}")
fi
exec "${command[@]}"

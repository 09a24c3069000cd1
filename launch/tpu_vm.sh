#!/usr/bin/env bash
# A run on a Cloud TPU slice, on all of its hosts at once (needs gcloud):
#   TPU=NAME ZONE=europe-west4-b bash launch/tpu_vm.sh create v5litepod-16     makes the slice (RUNTIME names its image)
#   TPU=NAME ZONE=... bash launch/tpu_vm.sh install                            copies this checkout and installs it
#   TPU=NAME ZONE=... bash launch/tpu_vm.sh run vfs-train --config=... --workdir=/mnt/shared/NAME ...
#   TPU=NAME ZONE=... bash launch/tpu_vm.sh stop                               SIGTERM: saves and ends
#   TPU=NAME ZONE=... bash launch/tpu_vm.sh delete
# Records and workdir lie on a file system that all hosts see (Filestore, or a bucket through gcsfuse). After a preemption
# create, install and the same run go on where it stopped. "--dry-run" in front of the action prints the command.
set -euo pipefail
cd "$(dirname "$0")/.."
dry_run=''
if [[ ${1:-} == --dry-run ]]; then
  dry_run=yes && shift
fi
action=${1:?create, install, run, stop or delete} && shift
tpu=(gcloud compute tpus tpu-vm)
place=("${TPU:?the name of the slice}" "--zone=${ZONE:?the zone, say europe-west4-b}")

# Prints the command instead of running it under --dry-run.
run() {
  if [[ $dry_run ]]; then
    printf '%q ' "$@" && echo
  else
    "$@"
  fi
}
on_all_hosts() {
  run "${tpu[@]}" ssh "${place[@]}" --worker=all "--command=$1"
}

case $action in
  create)
    run "${tpu[@]}" create "${place[@]}" "--accelerator-type=${1:?the type, say v5litepod-16}" \
      "--version=${RUNTIME:-v2-alpha-tpuv5-lite}" ${SPOT:+--spot}
    ;;
  install)
    run git archive --output=/tmp/vfs_jax.tar HEAD
    run "${tpu[@]}" scp /tmp/vfs_jax.tar "${place[0]}:" "${place[1]}" --worker=all
    on_all_hosts "mkdir -p vfs_jax && tar -xf vfs_jax.tar -C vfs_jax && python3 -m venv venv && venv/bin/pip install --quiet -c vfs_jax/constraints.txt './vfs_jax[tpu]'"
    ;;
  run)
    (($#)) || { echo "error: no command; give e.g. vfs-train --config=configs/vfs_r50_fine.py --workdir=DIR" >&2 && exit 2; }
    settings=$(grep -v '^#' launch/tpu.env | tr '\n' ' ')
    # The pid is that of the command; where the connection is cut the run goes on, and "stop" still finds it.
    on_all_hosts "cd vfs_jax && echo \$\$ >../vfs.pid && exec env PATH=\$HOME/venv/bin:\$PATH $settings $(printf '%q ' "$@" --processes=auto)"
    ;;
  stop) on_all_hosts "kill -TERM \$(cat vfs.pid)" ;;
  delete) run "${tpu[@]}" delete "${place[@]}" --quiet ;;
  *) echo "error: unknown action $action; there are create, install, run, stop and delete" >&2 && exit 2 ;;
esac

# shellcheck shell=bash
# Sourced by scripts that need one: makes a virtual environment with this package in it and puts it first on PATH.
# Nothing outside the environment's folder is changed; a second run finds it ready.
# PYTHON names the interpreter to take; python3.11, else python3, where it is not set.

# use_venv FOLDER [--constraint FILE] REQUIREMENT...    the tested versions, or those that FILE names
use_venv() {
  local folder=$1 python stamp constraints=constraints.txt
  shift
  if [[ $1 == --constraint ]]; then
    constraints=$2
    shift 2
  fi
  python=${PYTHON:-$(command -v python3.11 || command -v python3)} || {
    echo "error: no python3 found; install Python 3.11 or newer" >&2
    return 1
  }
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "error: $python is older than Python 3.11; install Python 3.11 or newer" >&2
    return 1
  }
  stamp="$(cat setup.cfg "$constraints" pyproject.toml | sha256sum | cut -d' ' -f1) $python $PWD $*"
  if [[ "$(cat "$folder/ready" 2>/dev/null)" != "$stamp" ]]; then
    echo "== installing into $folder"
    "$python" -m venv "$folder" || {
      echo "error: could not make $folder; on Debian: apt-get install python3-venv" >&2
      return 1
    }
    "$folder/bin/pip" install --quiet --disable-pip-version-check --constraint "$constraints" "$@"
    echo "$stamp" >"$folder/ready"
  fi
  PATH=$PWD/$folder/bin:$PATH
}

# accelerator    tells the extra of setup.cfg that this machine's GPU or TPU needs; nothing for CPUs
accelerator() {
  if command -v nvidia-smi >/dev/null; then
    echo cuda
  elif compgen -G '/dev/accel*' >/dev/null || compgen -G '/dev/vfio/[0-9]*' >/dev/null; then
    echo tpu
  fi
}

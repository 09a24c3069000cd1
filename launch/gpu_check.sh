#!/usr/bin/env bash
# Measure this package on this machine's GPU (or, with --toy, see on a CPU that everything runs): exactness, operators,
# training step and loop, evaluation, tracking. Needs the package's dependencies and no network: its data is made here.
#   bash launch/gpu_check.sh [--minutes=10] [--parts=exactness,operators,step,loop,evaluation,tracking] [--toy] [--out=DIR]
#     [--keep=docs/benchmarks.json]
# Writes DIR/gpu_check.json and DIR/gpu_check.md after every figure, so that a run that is cut short leaves what it found.
# PYTHON names the interpreter; PyTorch is compared with where it has it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
# The references of tests are what the parts compare with.
export PYTHONPATH="$root:$root/tests/correspondence:$root/tests/models:$root/tests/evaluation${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$root/tests/benchmarks/gpu_check.py" "$@"

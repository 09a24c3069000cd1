"""Run the parts of the GPU check, each in a process and under a time limit of its own; see launch/gpu_check.sh.

A part is a function of gpu_parts.py that yields rows. Every row is on disk before the next is measured: a part that
hangs, dies or runs out of time loses nothing of what it found, and the others still run.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from kept import keep

ROOT = Path(__file__).resolve().parents[2]
# Most valuable first, with its share of the minutes; what a part leaves goes to those after it.
SHARES = {"exactness": 1.5, "operators": 3.0, "step": 2.0, "loop": 1.5, "evaluation": 1.5, "tracking": 0.5}
HEADER = ["| part | what | figure | goal | met |", "| --- | --- | --- | --- | --- |"]


def read_report(out: Path) -> dict[str, Any]:
    """Read what was found so far: {"machine": ..., "rows": [...]}."""
    file = out / "gpu_check.json"
    return json.loads(file.read_text()) if file.exists() else {"machine": {}, "rows": []}


def write_report(out: Path, report: dict[str, Any]) -> None:
    """Write what was found, whole or not at all, and its table."""
    told = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    table = "\n".join([told, "", *HEADER, *map(line_of, report["rows"])])
    for name, text in {"gpu_check.json": json.dumps(report, indent=1), "gpu_check.md": table}.items():
        unfinished = out / f".{name}"
        unfinished.write_text(text + "\n")
        unfinished.replace(out / name)


def line_of(row: dict[str, Any]) -> str:
    """Write a row as a line of the table."""
    figure = f"{row['figure']:.4g} {row['unit']}" if row.get("figure") is not None else ""
    figure = "; ".join(filter(None, [figure, row.get("note", "")]))
    met = {True: "yes", False: "NO", None: ""}[row.get("met")]
    return f"| {row['part']} | {row['what']} | {figure} | {row.get('goal', '')} | {met} |"


def machine_of() -> dict[str, Any]:
    """Describe the machine without starting a GPU."""
    cards = ""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        cards = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip().replace("\n", "; ")
    return {"card": cards or "none", "cores": os.cpu_count(), "python": platform.python_version()}


def run_part(name: str, flags: argparse.Namespace, seconds: float) -> str:
    """Run a part in a process of its own; returns why it did not end well, or nothing."""
    command = [sys.executable, __file__, f"--run_part={name}", f"--out={flags.out.resolve()}"]
    command += ["--toy"] if flags.toy else []
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if not flags.toy:  # or the seconds that compiling takes would be those of reading a cache
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    process = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(seconds)
        return "" if code == 0 else f"ended with status {code}, see above"
    except subprocess.TimeoutExpired:
        return f"stopped at its limit of {seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # with all that it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def measure_part(name: str, out: Path, *, toy: bool) -> None:
    """Measure one part in this process, row by row."""
    import gpu_parts  # starts JAX

    report = read_report(out)
    report["machine"] |= gpu_parts.software()
    for row in getattr(gpu_parts, name)(toy):
        report["rows"].append({"part": name, **row})
        print(line_of(report["rows"][-1]), flush=True)
        write_report(out, report)


def measured(report: dict[str, Any]) -> dict[str, tuple[float, str]]:
    """Name the figures of a report for `kept.keep`: all but how exact it was."""
    rows = [row for row in report["rows"] if row.get("figure") and row["part"] != "exactness"]
    return {f"GPU check, {row['part']}: {row['what']}": (row["figure"], row["unit"]) for row in rows}


def start_report(out: Path, parts: list[str], machine: dict[str, Any]) -> None:
    """Begin a report: what other parts found on the same machine stays."""
    out.mkdir(parents=True, exist_ok=True)
    before = read_report(out)
    same = before["machine"].items() >= machine.items()
    kept = [row for row in before["rows"] if same and row["part"] not in parts]
    write_report(out, {"machine": machine, "rows": kept})


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; returns 1 where one did not end well, or a goal was missed."""
    parser = argparse.ArgumentParser(prog="bash launch/gpu_check.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="of all parts together")
    parser.add_argument("--parts", default=",".join(SHARES), help="comma-separated, run in this order")
    parser.add_argument("--toy", action="store_true", help="tiny sizes: only to see that everything runs")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu_check"), help="folder of the table")
    parser.add_argument("--keep", type=Path, help="JSON file to add the figures to")
    parser.add_argument("--run_part", choices=SHARES, help=argparse.SUPPRESS)
    flags = parser.parse_args(arguments)
    if flags.run_part:
        measure_part(flags.run_part, flags.out, toy=flags.toy)
        return 0
    parts = [name.strip() for name in flags.parts.split(",") if name.strip()]
    if unknown := [name for name in parts if name not in SHARES]:
        parser.error(f"--parts={flags.parts}: there is no {unknown[0]}; there are {', '.join(SHARES)}")
    if not flags.minutes > 0:
        parser.error(f"--minutes={flags.minutes:g}: give minutes above 0")
    end = time.monotonic() + 60 * flags.minutes
    start_report(flags.out, parts, machine_of() | {"toy": flags.toy})
    print("\n".join(HEADER), flush=True)
    for number, name in enumerate(parts):
        left = end - time.monotonic()
        limit = left * SHARES[name] / sum(SHARES[later] for later in parts[number:])
        if reason := run_part(name, flags, limit):
            report = read_report(flags.out)
            report["rows"].append({"part": name, "what": "the part itself", "note": reason, "met": False})
            print(line_of(report["rows"][-1]), flush=True)
            write_report(flags.out, report)
    print(f"written: {flags.out}/gpu_check.json, gpu_check.md")
    keep(flags.keep, measured(read_report(flags.out)))
    return int(any(row["met"] is False for row in read_report(flags.out)["rows"] if "met" in row))


if __name__ == "__main__":
    sys.exit(main())

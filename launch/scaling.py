"""Plan the release's recipes on slices of TPUs and hosts of GPUs, and write the table of docs/scaling.md.

  python launch/scaling.py OUT [--compile]

runs vfs-plan, in bfloat16, for every recipe and place whose OUT/RECIPE@TOPOLOGY.json is not there yet, and writes
OUT/table.md from these files; delete one to plan it anew. --compile compiles, minutes each for TPUs (what was compiled
before is kept by vfs-plan), where plans are counted else.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

RECIPES = ("vfs_r18_fine", "vfs_r18_object", "vfs_r50_fine", "vfs_r50_object")
PLACES = {
    "v4-8": "v4:2x2x1",
    "v5e-8": "v5e:2x4",
    "v5e-32": "v5e:4x8",
    "v5e-256": "v5e:16x16",
    "v6e-8": "v6e:2x4",
    "8 x H100": "h100:8",
    "32 x H100": "h100:4x8",
}
GIB = 2**30


def plan(recipe: str, topology: str, file: Path, *, compiled: bool) -> None:
    """Run vfs-plan; ResNet-18's 64 clips become 256 where there are more chips than clips."""
    command = [
        *(sys.executable, "-m", "vfs_jax.apps.plan", f"--config=configs/{recipe}.py", f"--topology={topology}"),
        *("--config.dtype=bfloat16", "--images_per_core=1700", f"--json={file}"),
        *([] if compiled else ["--fast"]),
        *(["--config.batch_size=256"] if topology == "v5e:16x16" else []),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def row(recipe: str, place: str, told: dict[str, Any]) -> str:
    """Return a plan's line of the table; what is counted is slanted."""
    is_compiled = told["sources"]["memory_bytes"] == "compiled"
    mark = "" if is_compiled else "*"
    bounds = told["bound_seconds"]
    cells = [
        recipe.removeprefix("vfs_"),
        f"{place}{', ' + str(told['batch_size']) + ' clips' if place == 'v5e-256' else ''}",
        f"{'yes' if told['fits'] else 'no'}, {mark}{told['memory_bytes'] / GIB:.2f}{mark}",
        f"{told['flops'] / 1e12:.3f}",
        f"{mark}{told['bytes'] / 1e9:.1f}{mark}",
        f"{mark}{sum(told['collectives'].values())}{mark}",
        " / ".join(f"{1000 * bounds[name]:.2f}" for name in ("operations", "memory", "exchange")),
        told["binds"],
        f"{told['days_bound']:.2f}",
        f"{told['images_per_second_per_host']:,.0f}",
        f"{told['compile_seconds']:.0f}" if is_compiled else "",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Plan what is missing, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--compile", action="store_true")
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    lines = [
        "| recipe | place | fits, GiB a chip | TFLOP a chip | GB moved a chip | exchanges | ms at least by operations "
        "/ memory / exchange | binds | days at least | images/s a host at most | compiled in s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for place, topology in PLACES.items():
        for recipe in RECIPES:
            file = flags.out / f"{recipe}@{topology.replace(':', '_')}.json"
            if not file.exists():
                plan(recipe, topology, file, compiled=flags.compile)
            lines.append(row(recipe, place, json.loads(file.read_text())))
    text = "\n".join(lines) + "\n"
    (flags.out / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

"""Records what compilers say of training steps, for tests on machines without them.

    pip install -e '.[plan]' && python tests/planning/record_programs.py vfs_r18_fine:smoke v5e:2x2

compiles the step in bfloat16 and writes recorded/CONFIG-TOPOLOGY.json.gz: the compiler, its figures of memory and
operations, and the text of the program without what is for debuggers.
"""

import argparse
import gzip
import importlib
import json
import re
import time
from pathlib import Path

import jax

from vfs_jax.planning.compilers import compiler_of, make_absent_mesh
from vfs_jax.planning.topologies import find_topology
from vfs_jax.training.options import read_options
from vfs_jax.training.vfs import make_program

FOLDER = Path(__file__).parent / "recorded"
MEMORY = ("argument", "output", "alias", "temp", "generated_code")


def plain(text: str) -> str:
    """Cut from a program's text what no figure is read from, bodies of kernels too."""
    text = re.sub(r", (metadata|sharding)=\{[^{}]*\}|, backend_config=\{.*\}$", "", text, flags=re.M)
    main = re.search(r"^ENTRY .*?^\}", text, re.S | re.M)
    assert main is not None
    loops = set(re.findall(r"(?:body|condition)=%([\w.\-]+)", main[0]))
    parts = [part for part in re.findall(r"^%.*?^\}", text, re.S | re.M) if part[1:].split(" ", 1)[0] in loops]
    return "\n\n".join([text.partition("\n")[0][:40], *parts, main[0]]) + "\n"


def write(config: str, topology: str, figures: dict[str, object], text: str) -> Path:
    """Write a recording."""
    path = FOLDER / f"{config.replace(':', '-')}-{topology.replace(':', '-')}.json.gz"
    path.parent.mkdir(exist_ok=True)
    content = json.dumps({"config": config, "topology": topology, **figures, "text": plain(text)}, indent=1)
    path.write_bytes(gzip.compress(content.encode(), mtime=0))
    return path


def main() -> None:
    """Compile and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("topology")
    flags = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    name, _, variant = flags.config.partition(":")
    config = importlib.import_module(f"vfs_jax.configs.{name}").get_config(variant)
    config.dtype = "bfloat16"
    topology = find_topology(flags.topology)
    program = make_program(read_options(config.to_dict()), make_absent_mesh(topology))
    lowered = program.trace().lower(lowering_platforms=(topology.chip.platform,))
    start = time.perf_counter()
    compiled = lowered.compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    figures = {
        "compiler": compiler_of(topology.chip.platform),
        "seconds": round(time.perf_counter() - start),
        "memory": {part: getattr(memory, f"{part}_size_in_bytes") for part in MEMORY},
        "flops": cost.get("flops", 0.0),
    }
    print(write(flags.config, flags.topology, figures, compiled.as_text()))


if __name__ == "__main__":
    main()

"""Plans in words, each figure with what it is: compiled, counted, of a data sheet, measured."""

from collections.abc import Mapping

from vfs_jax.planning.evaluation import EvaluationPlan
from vfs_jax.planning.training import TrainingPlan

GIB = 2**30


def tell_training(plan: TrainingPlan) -> str:
    """Return a training plan as lines of text."""
    of = plan.sources
    lines = [
        f"{plan.config} on {plan.topology}: {plan.chips} chips, {plan.hosts} host(s); a step is {plan.batch_size} "
        f"clips, {plan.images} images, {plan.dtype}",
        _fits(plan),
    ]
    if plan.shortage:
        lines.append(f"             {plan.shortage}")
        lines.append("             raise accumulate, set remat=True, take a smaller batch or more chips")
        return "\n".join(lines)
    lines += [
        f"operations   {plan.flops / 1e12:.3f} TFLOP a chip and step  [{of['flops']}]",
        f"memory       {plan.bytes / 1e9:.2f} GB read and written a chip and step  [{of['bytes']}]",
        f"exchange     {_exchanges(plan)}  [{of['collectives']}]",
        f"step         at least {_milliseconds(plan.step_seconds_bound)}, {plan.binds} binds: "
        + ", ".join(f"{name} {_milliseconds(value)}" for name, value in plan.bound_seconds.items())
        + f"  [{of['bound_seconds']}]",
        f"run          {plan.steps} steps, at least {plan.days_bound:.2f} days  [computed of the bound]",
        f"input        up to {plan.images_per_second_per_host:.0f} images/s a host: {plan.cores_per_host} cores at "
        f"{plan.images_per_core:.0f} images/s a core  [{of['images_per_core']}]",
        f"storage      up to {plan.storage_bytes_per_second / 1e6:.0f} MB/s from all hosts together  "
        f"[{of['storage_bytes_per_second']}]",
        f"batch        some {plan.batch_size_that_fills} clips would fill the memory  [{of['batch_size_that_fills']}]",
        "launch",
        *(f"  {line}" for line in plan.launch),
    ]
    if plan.cache:
        lines.append(f"compiled in {plan.compile_seconds:.0f} s, kept in {plan.cache}")
    return "\n".join(lines)


def tell_evaluation(plan: EvaluationPlan) -> str:
    """Return a plan of label propagation as lines of text."""
    of = plan.sources
    (height, width), (rows, cols) = plan.frame, plan.grid
    flops = ", ".join(f"{name} {value / 1e9:.1f}" for name, value in plan.flops_by_part.items())
    lines = [
        f"{plan.config} on {plan.topology}: {plan.chips} chips, each with a video of its own, {plan.hosts} host(s); "
        f"frames of {height}x{width}, features on {rows}x{cols} cells",
        _fits(plan),
        f"in flight    {plan.frames_in_flight} frames a call of the network; {plan.frames_remembered} are remembered",
        f"operations   {plan.flops / 1e9:.1f} GFLOP a frame: {flops}  [{of['flops']}]",
        f"memory       {plan.bytes / 1e9:.2f} GB read and written a frame  [{of['bytes']}]",
        f"frame        at least {_milliseconds(plan.step_seconds_bound)}, {plan.binds} binds: "
        + ", ".join(f"{name} {_milliseconds(value)}" for name, value in plan.bound_seconds.items())
        + f"  [{of['bound_seconds']}]",
        f"input        up to {plan.images_per_second_per_host:.0f} frames/s a host to read and as many masks to write  "
        f"[{of['images_per_second_per_host']}]",
    ]
    return "\n".join(lines)


def _fits(plan: TrainingPlan | EvaluationPlan) -> str:
    """Tell whether a plan fits, and by how much."""
    parts = ", ".join(f"{name} {value / GIB:.2f}" for name, value in plan.memory_parts.items() if value)
    used = f"{plan.memory_bytes / GIB:.2f} GiB of {plan.memory_limit_bytes / GIB:.2f} a chip"
    free = (plan.memory_limit_bytes - plan.memory_bytes) / GIB
    return (
        f"fits         {'yes' if plan.fits else 'NO'}: {used}, {abs(free):.2f} {'free' if free >= 0 else 'too much'} "
        f"({parts})  [{plan.sources['memory_bytes']}; limit: {plan.sources['memory_limit_bytes']}]"
    )


def _exchanges(plan: TrainingPlan) -> str:
    """Tell the exchanges by name, with their bytes."""
    if not plan.collectives:
        return "none"
    total: Mapping[str, int] = plan.collective_bytes
    each = [f"{count} {name} of {total[name] / 1e6:.1f} MB in all" for name, count in plan.collectives.items()]
    return f"{', '.join(each)}, the largest {plan.largest_exchange_bytes / 1e6:.1f} MB"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"

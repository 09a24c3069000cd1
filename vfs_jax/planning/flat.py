"""A traced program written out flat: its calls inlined, with the branches that a platform takes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a flat program.

    Attributes:
        name: of the primitive.
        inputs: numbers of the arrays that it reads.
        outputs: numbers of the arrays that it makes.
        times: how often it runs.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    times: int


@dataclasses.dataclass
class Flat:
    """A program without calls: `operations` in order, over `arrays` by number.

    Attributes:
        arrays: shapes and dtypes.
        operations: in the order in which they are written.
        inputs: numbers of the arguments.
        outputs: numbers of the results.
    """

    arrays: list[jax.core.AbstractValue]
    operations: list[Operation]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def flatten(traced: jax.stages.Traced, platform: str) -> Flat:
    """Write out all calls of a program, with the branches that a platform takes.

    Args:
        traced: the program.
        platform: "tpu" or "cuda"; "" takes what is there for any. Branches by other conditions all count.
    """
    flat = Flat([], [], (), ())
    jaxpr: ClosedJaxpr = traced.jaxpr
    flat.inputs = tuple(_number(flat, var) for var in jaxpr.jaxpr.invars)
    known = dict(zip(jaxpr.jaxpr.invars, flat.inputs, strict=True))
    made = _inline(flat, jaxpr.jaxpr, {**known}, platform, 1)
    flat.outputs = tuple(number for number in made if number is not None)
    return flat


def _number(flat: Flat, var: Var) -> int:
    flat.arrays.append(var.aval)
    return len(flat.arrays) - 1


def _inline(flat: Flat, jaxpr: Jaxpr, known: dict[Var, int | None], platform: str, times: int) -> list[int | None]:
    """Append a program's operations; `known` has the numbers of its arguments. None stands for constants."""
    platforms: dict[Var, int] = {}  # the branch of those conditions that ask for the platform

    def number_of(atom: Var | Literal) -> int | None:
        return None if isinstance(atom, Literal) else known.get(atom)

    for equation in jaxpr.eqns:
        if equation.primitive.name == "platform_index":
            choices = equation.params["platforms"]
            taken = next((i for i, names in enumerate(choices) if names is None or platform in names), len(choices))
            platforms[equation.outvars[0]] = taken
            continue
        bodies = list(_bodies(equation, platforms))
        arguments = [number_of(atom) for atom in equation.invars]
        if not bodies:
            outputs = [_number(flat, var) for var in equation.outvars]
            _append(flat, equation.primitive.name, arguments, outputs, times)
            known |= dict(zip(equation.outvars, outputs, strict=True))
            continue
        is_scan = equation.primitive.name == "scan"
        for body in bodies:
            given = arguments[len(arguments) - len(body.invars) :]
            runs = times
            if is_scan:  # what it keeps and carries are the arrays themselves; its slices have shapes of their own
                runs *= equation.params["length"]
                for place in _sliced(equation.invars, body.invars):
                    part = _number(flat, body.invars[place])
                    _append(flat, "scan", [given[place]], [part], runs)
                    given[place] = part
            made = _inline(flat, body, dict(zip(body.invars, given, strict=True)), platform, runs)
        if is_scan:
            for place in _sliced(equation.outvars, body.outvars):
                stacked = _number(flat, equation.outvars[place])
                _append(flat, "scan", [made[place]], [stacked], times)
                made[place] = stacked
        known |= dict(zip(equation.outvars, made, strict=True))
    return [number_of(atom) for atom in jaxpr.outvars]


def _sliced(outside: Sequence[Var | Literal], inside: Sequence[Var | Literal]) -> list[int]:
    """Find the arrays of a scan of which each of its runs has a slice: those of another shape there."""
    shapes = [[getattr(each.aval, "shape", ()) for each in atoms] for atoms in (outside, inside)]
    return [place for place, (whole, part) in enumerate(zip(*shapes, strict=True)) if whole != part]


def _append(flat: Flat, name: str, inputs: Sequence[int | None], outputs: Sequence[int], times: int) -> None:
    read = tuple(number for number in inputs if number is not None)
    flat.operations.append(Operation(name, read, tuple(outputs), times))


def _bodies(equation: JaxprEqn, platforms: Mapping[Var, int]) -> Iterator[Jaxpr]:
    """Iterate over the programs that an equation runs."""
    if equation.primitive.name == "cond":
        chosen = platforms.get(equation.invars[0]) if isinstance(equation.invars[0], Var) else None
        branches: Sequence[ClosedJaxpr] = equation.params["branches"]
        yield from (branch.jaxpr for branch in (branches if chosen is None else [branches[chosen]]))
        return
    if equation.primitive.name in ("custom_jvp_call", "custom_vjp_call"):
        yield _jaxpr(equation.params.get("call_jaxpr") or equation.params["fun_jaxpr"])
        return
    for name, value in equation.params.items():
        if name in ("jaxpr", "call_jaxpr"):
            yield _jaxpr(value)


def _jaxpr(value: Jaxpr | ClosedJaxpr) -> Jaxpr:
    return value.jaxpr if isinstance(value, ClosedJaxpr) else value

"""What a compiled program costs, read from XLA's optimised HLO: products, collectives, kernels, each as often as it runs.

XLA's own cost analysis counts the body of a loop once, and a training step is mostly loops (layers, chunks of logits), so
the program's text is walked with the trip counts that XLA noted, or that the loop's condition compares with. Loops whose trip
count only the data decides run once here and are counted in `open_loops`: one step of decoding. A collective that the TPU's
compiler spreads over several fusions, to run beside products, is one, known by its channel. Left out: time, and what a kernel
multiplies. Bytes are what a device sends over links in a ring, per run of the program.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "f8e4m3fn": 1, "f8e5m2": 1}
_SHAPE = re.compile(r"\b([a-z]+\d*(?:e\d+m\d+(?:fn)?)?)\[([\d,]*)\]")
_NAME = r"[\w.\-]+"
_COMPUTATION = re.compile(rf"^(ENTRY )?%?({_NAME}) \(.*\{{$")
_INSTRUCTION = re.compile(rf"^\s+(?:ROOT )?%?({_NAME}) = (.*)$")
_CALLED = re.compile(rf"\b(?:calls|body|to_apply|condition|true_computation|false_computation)=%?({_NAME})")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")


class Collective(NamedTuple):
    """One collective of a program: `runs` times, by groups of `group` devices, of `input_bytes` a device each time.

    `source` is the JAX operation it came from.
    """

    kind: str
    group: int
    input_bytes: float
    runs: int
    in_loop: bool
    source: str

    @property
    def result_bytes(self) -> float:
        """What a device holds after one run."""
        scale = {"all-gather": self.group, "reduce-scatter": 1 / self.group}
        return self.input_bytes * scale.get(self.kind, 1)

    @property
    def sent_bytes(self) -> float:
        """What a device sends in all runs, by the ring algorithm."""
        others = self.group - 1
        share = {"all-gather": others, "all-reduce": 2 * others / self.group, "collective-permute": 1}
        return self.runs * self.input_bytes * share.get(self.kind, others / self.group)


@dataclass(frozen=True)
class CompiledCosts:
    """Per device and per run of a program. `kernels` are custom calls by name, with how often they run.

    `copied_bytes` are those that copies inside loops read and write, such as a cache that changes its layout at every step.
    """

    product_flops: float
    collectives: tuple[Collective, ...]
    kernels: Counter[str]
    open_loops: int
    copied_bytes: float

    @property
    def sent_bytes(self) -> float:
        """Over all collectives."""
        return sum(collective.sent_bytes for collective in self.collectives)

    @property
    def collective_runs(self) -> int:
        """How many collectives run."""
        return sum(collective.runs for collective in self.collectives)

    def by_kind(self) -> dict[str, tuple[int, float]]:
        """(runs, bytes sent) of each kind of collective."""
        found: dict[str, tuple[int, float]] = {}
        for one in self.collectives:
            runs, sent = found.get(one.kind, (0, 0.0))
            found[one.kind] = (runs + one.runs, sent + one.sent_bytes)
        return dict(sorted(found.items()))


@dataclass
class _Instruction:
    name: str
    result: str
    opcode: str
    operands: list[str]
    arguments: str
    rest: str


@dataclass
class _Walk:
    computations: dict[str, list[_Instruction]]
    flops: float = 0.0
    collectives: list[Collective] = field(default_factory=list)
    kernels: Counter[str] = field(default_factory=Counter)
    open_loops: int = 0
    copied_bytes: float = 0.0
    _spread: set[tuple[str, ...]] = field(default_factory=set)

    def visit(self, name: str, runs: int, in_loop: bool, inside_of: str = "") -> None:
        """Adds what the computation `name` costs when it runs `runs` times; `inside_of`: the one that a fusion belongs to."""
        instructions = self.computations.get(name, [])
        results = {instruction.name: instruction.result for instruction in instructions}
        for one in instructions:
            kind = one.opcode.removesuffix("-start")
            if kind in _COLLECTIVES:
                if inside_of and not self._is_first(one, inside_of):
                    continue
                kind = "reduce-scatter" if name.startswith("all-reduce-scatter") else kind
                self._collective(one, kind, results, runs, in_loop)
                continue
            if one.opcode in ("dot", "convolution"):
                self.flops += runs * _product_flops(one, results)
            elif one.opcode == "copy" and in_loop and (not inside_of or one is instructions[-1]):
                # What stays in the core's own memory, S(1), costs next to nothing.
                self.copied_bytes += 0 if "S(1)" in one.result else 2 * runs * _size_bytes(one.result)
            elif one.opcode == "custom-call":
                self.kernels[_kernel_name(one)] += runs
            inside, looping = runs, in_loop
            if one.opcode == "while":
                trips = self._trips(one.rest)
                self.open_loops += trips is None
                inside, looping = runs * (1 if trips is None else trips), True
            if one.opcode in ("reduce", "scatter", "sort", "reduce-window", "select-and-scatter", "map", "all-reduce"):
                continue
            for called in _called(one.rest):
                self.visit(called, inside, looping, (inside_of or name) if one.opcode == "fusion" else "")

    def _is_first(self, one: _Instruction, inside_of: str) -> bool:
        """Whether no other fusion of the same computation held a part of this collective."""
        channel = re.search(r"channel_id=(\d+)", one.rest)
        if channel is None:
            return True
        key = (inside_of, one.opcode, channel.group(1), str(_dimensions(one.result)))
        is_first = key not in self._spread
        self._spread.add(key)
        return is_first

    def _trips(self, rest: str) -> int | None:
        """How often a loop runs: as noted, or the constant its counter, from 0 in steps of 1, stays below."""
        noted = _TRIPS.search(rest)
        if noted:
            return int(noted.group(1))
        condition = re.search(rf"condition=%?({_NAME})", rest)
        instructions = self.computations.get(condition.group(1), []) if condition else []
        if not instructions or instructions[-1].opcode != "compare" or "direction=LT" not in instructions[-1].rest:
            return None
        limits = {one.name: one.arguments for one in instructions if one.opcode == "constant"}
        limit = limits.get(instructions[-1].operands[-1], "")
        return int(limit) if limit.isdigit() else None

    def _collective(self, one: _Instruction, kind: str, results: dict[str, str], runs: int, in_loop: bool) -> None:
        size = sum(_size_bytes(results.get(operand, "")) for operand in one.operands)
        group = _group_size(one.rest)
        if group > 1:
            source = re.search(r'op_name="([^"]*)"', one.rest)
            self.collectives.append(Collective(kind, group, size, runs, in_loop, source.group(1) if source else ""))


def read_costs(hlo: str) -> CompiledCosts:
    """The costs of `compiled.as_text()`."""
    computations: dict[str, list[_Instruction]] = {}
    entry, current = "", ""
    for line in hlo.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            current = header.group(2)
            computations[current] = []
            entry = current if header.group(1) else entry
        elif current:
            found = _INSTRUCTION.match(line)
            if found:
                computations[current].append(_parsed(found.group(1), found.group(2)))
    walk = _Walk(computations)
    walk.visit(entry, 1, False)
    return CompiledCosts(walk.flops, tuple(walk.collectives), walk.kernels, walk.open_loops, walk.copied_bytes)


def _parsed(name: str, text: str) -> _Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.find(" ")
    result, call = text[:end], text[end:].lstrip()
    opening = call.find("(")
    closing = _closing(call, opening)
    arguments = call[opening + 1 : closing]
    operands = re.findall(rf"%({_NAME})", arguments)
    return _Instruction(name, result, call[:opening], operands, arguments, call[closing + 1 :])


def _closing(text: str, start: int) -> int:
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return len(text)


def _called(rest: str) -> Iterator[str]:
    yield from _CALLED.findall(rest)
    for branches in _BRANCHES.findall(rest):
        yield from re.findall(rf"%?({_NAME})", branches)


def _dimensions(result: str) -> list[int]:
    found = _SHAPE.search(result)
    return [int(size) for size in found.group(2).split(",") if size] if found else []


def _size_bytes(result: str) -> float:
    sizes = ((_BYTES.get(dtype, 0), dims) for dtype, dims in _SHAPE.findall(result))
    return sum(width * math.prod(int(size) for size in dims.split(",") if size) for width, dims in sizes)


def _product_flops(one: _Instruction, results: dict[str, str]) -> float:
    """Two for each multiplication: of a dot by its contracted sizes, of a convolution by its kernel."""
    out = math.prod(_dimensions(one.result))
    if one.opcode == "dot":
        left = _dimensions(results.get(one.operands[0], ""))
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.rest)
        axes = [int(axis) for axis in contracted.group(1).split(",") if axis] if contracted else []
        return 2.0 * out * math.prod(left[axis] for axis in axes)
    labels = re.search(r"dim_labels=\w+_(\w+)->", one.rest)
    kernel = _dimensions(results.get(one.operands[1], ""))
    if not labels or not kernel:
        return 0.0
    # Batched products are convolutions over a window of the batch's size of which one place counts.
    stretched = "lhs_dilate" in one.rest or "rhs_dilate" in one.rest or "rhs_reversal" in one.rest
    counted = [
        size for size, label in zip(kernel, labels.group(1), strict=True) if label == "i" or not (stretched or label == "o")
    ]
    return 2.0 * out * math.prod(counted)


def _group_size(rest: str) -> int:
    """Devices of one group, in any of the ways XLA writes replica groups."""
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", rest)
    if listed:
        return len(listed.group(1).split(","))
    counted = re.search(r"replica_groups=\[\d+,(\d+)\]", rest)
    if counted:
        return int(counted.group(1))
    named = re.search(r"replica_groups=@?\w*mesh\w*\[([^\]]*)\][^{]*\{([^}]*)\}", rest)
    if named:
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", named.group(1)))
        # An axis may be given in part, as 'axis':(offset)size.
        return math.prod(int(part or sizes[axis]) for axis, part in re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", named.group(2)))
    return 2 if "source_target_pairs={{" in rest else 1


def _kernel_name(one: _Instruction) -> str:
    target = re.search(r'custom_call_target="([^"]*)"', one.rest)
    source = re.search(r'op_name="([^"]*)"', one.rest)
    name = target.group(1) if target else "?"
    if name != "tpu_custom_call":
        return name
    return f"{name}: {source.group(1).split('/')[-1] if source else one.name.partition('.')[0]}"


def parameter_gathers(costs: CompiledCosts, least_bytes: float) -> list[Collective]:
    """All-gathers outside every loop whose result has at least `least_bytes`, the largest first."""
    found = [one for one in costs.collectives if one.kind == "all-gather" and not one.in_loop]
    return sorted((one for one in found if one.result_bytes >= least_bytes), key=lambda one: -one.result_bytes)


def cost_record(costs: CompiledCosts) -> dict[str, object]:
    """The figures for a JSON record."""
    kinds = {kind: {"runs": runs, "sent_bytes": round(sent)} for kind, (runs, sent) in costs.by_kind().items()}
    return json.loads(json.dumps({"product_flops": costs.product_flops, "collectives": kinds, "kernels": dict(costs.kernels)}))

"""Running one pool: seat prompts, dispatch decode steps, collect tokens, refill lanes, until every completion has ended.

The host looks at tokens once a dispatch, never per token. Stop strings are found here, on text; end-of-sequence tokens and
limits already on the device. A completion that was begun elsewhere, or under other weights, is read in under these weights
before it goes on: no key or value of an older version is ever attended, so that a token's log-prob is that of its version.
Left out: compiling (`programs.py`), grouping requests by shape (`embedded.py`).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Container, Iterable, Sequence

import jax
import numpy as np

from evo_jax.policy.stops import StopMatcher, cut_at_stop
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.rollouts.forward import Weights
from evo_jax.rollouts.kv_cache import PoolShape
from evo_jax.rollouts.programs import Chunk, PoolState, Programs, Staged, empty_chunk, idle_controls
from evo_jax.rollouts.protocol import Completion, FinishReason, OnGroup, Progress, RolloutRequest, RolloutStats
from evo_jax.rollouts.scheduler import Placement, Scheduler


@dataclasses.dataclass
class GenerateReport:
    """Counts of one `generate` call while it runs."""

    total: int
    on_progress: Progress | None
    finished: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    prefilled_positions: int = 0
    slot_steps: int = 0
    steps: int = 0
    dispatches: int = 0
    compiles: int = 0
    compile_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0

    def stats(self, total_s: float) -> RolloutStats:
        """The finished record."""
        return RolloutStats(
            completions=self.finished,
            generated_tokens=self.tokens,
            prompt_tokens=self.prompt_tokens,
            decode_steps=self.steps,
            dispatches=self.dispatches,
            compiles=self.compiles,
            idle_fraction=1.0 - self.tokens / self.slot_steps if self.slot_steps else 0.0,
            prompt_padding_fraction=1.0 - self.prompt_tokens / self.prefilled_positions if self.prefilled_positions else 0.0,
            compile_s=self.compile_s,
            prefill_s=self.prefill_s,
            decode_s=self.decode_s,
            total_s=total_s,
        )


@dataclasses.dataclass
class Draft:
    """A completion while it grows."""

    request: RolloutRequest
    stops: StopMatcher
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    versions: list[int] = dataclasses.field(default_factory=list)
    finish_reason: FinishReason = "abort"

    @staticmethod
    def of(request: RolloutRequest, member: int, tokenizer: Tokenizer) -> Draft:
        """A member of a group as far as it was begun."""
        draft = Draft(request, StopMatcher(tokenizer.decode, request.sampling.stop))
        if request.begun:
            begun = request.begun[member]
            columns = (begun.tokens.tolist(), begun.logprobs.tolist(), begun.policy_versions.tolist())
            for token, logprob, version in zip(*columns, strict=True):
                draft.push(token, logprob, version, ())
            draft.finish_reason = begun.finish_reason
        return draft

    def push(self, token: int, logprob: float, version: int, eos_token_ids: Container[int]) -> bool:
        """Take a token; True when the completion has ended, and why is then in `finish_reason`."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.versions.append(version)
        if token in eos_token_ids or self.stops.push(token):
            self.finish_reason = "stop"
        elif len(self.tokens) == self.request.sampling.max_completion_tokens:
            self.finish_reason = "length"
        return self.finish_reason != "abort"

    def complete(self, tokenizer: Tokenizer) -> Completion:
        """The frozen record."""
        text = cut_at_stop(tokenizer.decode(self.tokens), self.request.sampling.stop)
        tokens, logprobs = np.array(self.tokens, np.int32), np.array(self.logprobs, np.float32)
        return Completion(tokens, logprobs, text, self.finish_reason, np.array(self.versions, np.int32))


def as_begun(request: RolloutRequest, tokenizer: Tokenizer) -> list[Completion]:
    """The completions of a request as they were handed in."""
    return [Draft.of(request, member, tokenizer).complete(tokenizer) for member in range(request.group_size)]


@dataclasses.dataclass(frozen=True)
class Sources:
    """What a pool samples from: its programs, the weights and their version; `extend` makes the program that reads in, when
    it is first needed."""

    programs: Programs
    extend: Callable[[], Callable[[Weights, PoolState, Chunk], PoolState]]
    weights: Weights
    version: int


class Pool:
    """One shape's lanes, seats and programs, for one run over a list of requests."""

    def __init__(
        self,
        shape: PoolShape,
        sources: Sources,
        tokenizer: Tokenizer,
        eos_token_ids: Sequence[int],
    ) -> None:
        self._shape, self._sources = shape, sources
        self._programs, self._weights = sources.programs, sources.weights
        self._tokenizer, self._eos = tokenizer, frozenset(eos_token_ids)
        self._state = self._programs.empty()
        self._staged: dict[int, tuple[Staged, int]] = {}  # request -> prefilled prompts and its row among them
        self._lanes: list[Draft | None] = [None] * shape.slots
        self._requests = [-1] * shape.slots  # that the lane's draft belongs to
        self._controls = idle_controls(shape.slots)

    def run(
        self,
        requests: Sequence[RolloutRequest],
        report: GenerateReport,
        should_stop: Callable[[], bool],
        on_group: OnGroup | None = None,
    ) -> list[list[Completion]]:
        """All completions, by request and member; aborted ones only where `should_stop` turned true. `on_group` is told of
        groups as they finish."""
        shape, tokenizer = self._shape, self._tokenizer
        drafts = [[Draft.of(request, member, tokenizer) for member in range(request.group_size)] for request in requests]
        members = [request.open_members for request in requests]
        left = list(map(len, members))
        scheduler = Scheduler(members, tiles=shape.tiles, lanes=shape.lanes, seats=shape.seats)
        finished: dict[int, list[Completion]] = {}
        while (scheduler.has_pending or not scheduler.is_idle) and not should_stop():
            self._controls.fresh[:] = False
            placements = scheduler.place()
            if placements:
                self._seat_prompts(placements, requests, scheduler, report)
            for placement in placements:
                self._begin(placement, drafts[placement.request][placement.member])
            self._read_in(placements, report)
            for slot in self._dispatch(scheduler.has_pending, report):
                scheduler.free(slot // shape.lanes, slot % shape.lanes)
                request = self._requests[slot]
                left[request] -= 1
                if not left[request] and on_group is not None:
                    finished[request] = [draft.complete(tokenizer) for draft in drafts[request]]
                    on_group(request, finished[request])
            if report.on_progress is not None:
                report.on_progress(report.finished, report.total, report.tokens)
        return [finished.get(request) or [draft.complete(tokenizer) for draft in group] for request, group in enumerate(drafts)]

    def _seat_prompts(
        self, placements: Sequence[Placement], requests: Sequence[RolloutRequest], scheduler: Scheduler, report: GenerateReport
    ) -> None:
        """Bring the prompts of `placements` to their seats, prefilling those not yet staged in full batches."""
        began = time.perf_counter()
        seating = [placement for placement in placements if placement.seats_prompt]
        missing = [p.request for p in seating if p.request not in self._staged]
        missing = list(dict.fromkeys(missing))
        rows = self._shape.prefill_rows
        if missing:  # the rest of the last batch goes to prompts whose turn comes next
            ahead = [index for index in scheduler.waiting(rows) if index not in self._staged]
            missing += ahead[: -len(missing) % rows]
        for start in range(0, len(missing), rows):
            self._prefill(missing[start : start + rows], requests, report)
        for placement in seating:
            staged, row = self._staged[placement.request]
            where = (np.int32(row), np.int32(placement.tile), np.int32(placement.seat))
            self._state = self._programs.seat(self._state, staged, *where)
        self._staged = {index: kept for index, kept in self._staged.items() if scheduler.still_needs(index)}
        jax.block_until_ready(self._state.seat_hidden)
        report.prefill_s += time.perf_counter() - began

    def _prefill(self, batch: Sequence[int], requests: Sequence[RolloutRequest], report: GenerateReport) -> None:
        rows, width = self._shape.prefill_rows, self._shape.prompt_tokens
        tokens, lengths = np.zeros((rows, width), np.int32), np.ones(rows, np.int32)
        for row, index in enumerate(batch):
            prompt = requests[index].prompt_tokens
            tokens[row, : len(prompt)], lengths[row] = prompt, len(prompt)
            report.prompt_tokens += len(prompt)
        report.prefilled_positions += rows * width
        staged = self._programs.prefill(self._weights, tokens, lengths)
        self._staged |= {index: (staged, row) for row, index in enumerate(batch)}

    def _begin(self, placement: Placement, draft: Draft) -> None:
        slot, request, controls = placement.tile * self._shape.lanes + placement.lane, draft.request, self._controls
        self._lanes[slot], self._requests[slot] = draft, placement.request
        controls.alive[slot] = True
        controls.fresh[slot] = not draft.tokens
        controls.seats[slot] = placement.seat
        controls.prompt_lengths[slot] = len(request.prompt_tokens)
        controls.generated[slot] = len(draft.tokens)
        controls.limits[slot] = request.sampling.max_completion_tokens
        controls.seeds[slot], controls.members[slot] = request.seed, placement.member
        controls.sampling.temperature[slot] = request.sampling.temperature
        controls.sampling.top_k[slot] = request.sampling.top_k
        controls.sampling.top_p[slot] = request.sampling.top_p

    def _read_in(self, placements: Iterable[Placement], report: GenerateReport) -> None:
        """Brings the tokens that completions have so far into their lanes' caches, several completions and tokens at once."""
        slots = [placement.tile * self._shape.lanes + placement.lane for placement in placements]
        begun = [(slot, draft) for slot in slots if (draft := self._lanes[slot]) is not None and draft.tokens]
        if not begun:
            return
        began = time.perf_counter()
        extend, (rows, width) = self._sources.extend(), empty_chunk(self._shape).tokens.shape
        for start in range(0, max(len(draft.tokens) for _, draft in begun), width):
            reach = [(slot, draft) for slot, draft in begun if len(draft.tokens) > start]
            for first in range(0, len(reach), rows):
                chunk = empty_chunk(self._shape)
                for row, (slot, draft) in enumerate(reach[first : first + rows]):
                    tokens = draft.tokens[start : start + width]
                    chunk.tokens[row, : len(tokens)], chunk.lengths[row] = tokens, len(tokens)
                    chunk.starts[row], chunk.slots[row], chunk.seats[row] = start, slot, self._controls.seats[slot]
                    chunk.prompt_lengths[row] = len(draft.request.prompt_tokens)
                self._state = extend(self._weights, self._state, chunk)
        jax.block_until_ready(self._state.hidden)
        report.prefill_s += time.perf_counter() - began

    def _dispatch(self, more_wait: bool, report: GenerateReport) -> list[int]:
        """Decode some steps; the slots whose completions ended."""
        began = time.perf_counter()
        # A sixteenth of the slots free is worth a return to the host, unless nothing waits for them.
        leave_after = max(1, self._shape.slots // 16) if more_wait else self._shape.slots + 1
        self._state, decoded = self._programs.decode(self._weights, self._state, self._controls, np.int32(leave_after))
        steps = int(decoded.steps)
        tokens, logprobs = np.asarray(decoded.tokens)[:steps], np.asarray(decoded.logprobs)[:steps]
        report.decode_s += time.perf_counter() - began
        report.dispatches, report.steps = report.dispatches + 1, report.steps + steps
        report.slot_steps += steps * self._shape.slots
        ended = []
        for slot, draft in enumerate(self._lanes):
            if draft is None:
                continue
            before = len(draft.tokens)
            over = False
            for token, logprob in zip(tokens[:, slot].tolist(), logprobs[:, slot].tolist(), strict=True):
                if over or token < 0:
                    break
                over = draft.push(token, logprob, self._sources.version, self._eos)
            self._controls.generated[slot] = len(draft.tokens)
            report.tokens += len(draft.tokens) - before
            if over:
                self._lanes[slot] = None
                self._controls.alive[slot] = False
                ended.append(slot)
        report.finished += len(ended)
        return ended

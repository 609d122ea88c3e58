"""One sglang-jax Engine in this process: completions, and new weights between two of them.

While weights change, nothing is sampled: new requests wait at a gate, and those under way end first, so that every
completion is of one version and says which. A load that fails leaves the old weights in use. The old and the new weights are in
memory together until the new ones are complete. Left out: the routes (`routes.py`), several hosts (each would need the new
weights), prompts' log-probs, penalties, streaming.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from sglang_tpu.weights import Load, WeightsError, check_mapped, check_shapes, first_rows, stored_shapes

FIRST_LABEL = "default"
GONE_POLL_S = 1.0
ANSWER_TIMEOUT_S = 60.0
# What of a request must say "nothing": sampling.py does not know it.
NEUTRAL = {"min_p": 0.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "repetition_penalty": 1.0}
PAUSE_MODES = ("retract", "in_place", "abort")
# Prompt and sampling parameters of one completion.
Member = tuple[list[int], dict[str, Any]]


class RequestError(Exception):
    """A request that is not served; says why."""


@dataclass(frozen=True)
class Parts:
    """What is used of an Engine: its tokenizer manager and model runner, how its model was loaded, its GenerateReqInput, and
    what empties its caches where nothing is under way."""

    manager: Any
    runner: Any
    load: Load
    request: Callable[..., Any]
    empty_caches: Callable[[], Coroutine[Any, Any, bool]]


class HeldEngine:
    """The Engine, the label of the weights it holds, and the gate in front of it. Any thread may call; `loop` runs the Engine's
    coroutines in another."""

    def __init__(self, parts: Parts, loop: asyncio.AbstractEventLoop) -> None:
        """Raises WeightsError for a model whose weights could not be compared later."""
        self._parts, self._loop = parts, loop
        self.model_path = str(parts.load.loader.model_config.model_path)
        self.label = FIRST_LABEL
        self._shapes = stored_shapes(Path(self.model_path))
        check_mapped(self._shapes, parts.load)
        self._leaves = _leaves_in_use(parts.runner)
        self._gate = threading.Condition()
        self._is_paused = False
        self._running: set[str] = set()
        self._loading = threading.Lock()

    # ---- completions -------------------------------------------------------------------------------------------------------

    def generate(self, body: Mapping[str, Any], is_gone: Callable[[], bool] = lambda: False) -> Any:
        """What /generate answers: one completion, or a list of them when `n` is not 1 or there is a list of prompts. Raises
        RequestError.

        `is_gone` says whether nobody waits for the answer any more; then it is aborted.
        """
        members = self._members(body)
        name = uuid.uuid4().hex
        with self._gate:
            self._gate.wait_for(lambda: not self._is_paused)
            self._running.add(name)
            label = self.label
        try:
            job = asyncio.run_coroutine_threadsafe(self._group(name, members), self._loop)
            answers = self._wait(job, name, len(members), is_gone)
        except ValueError as error:
            raise RequestError(str(error)) from error
        finally:
            with self._gate:
                self._running.discard(name)
                self._gate.notify_all()
        for answer in answers:
            meta = answer["meta_info"]
            meta["weight_version"] = label
            meta["weight_versions"] = [{"version": label, "start": 0, "end": meta["completion_tokens"]}]
        is_one = len(answers) == 1 and not isinstance(body["input_ids"][0], list)
        return answers[0] if is_one else answers

    def abort(self) -> None:
        """Ends every completion under way."""
        self._loop.call_soon_threadsafe(lambda: self._parts.manager.abort_request(abort_all=True))

    def _members(self, body: Mapping[str, Any]) -> list[Member]:
        """The completions that are asked for: `n` of one prompt, or one of each in a list."""
        prompts, sampling = body.get("input_ids"), body.get("sampling_params") or {}
        if isinstance(prompts, list) and prompts and isinstance(prompts[0], list):
            each = sampling if isinstance(sampling, list) else [sampling] * len(prompts)
            if len(each) != len(prompts):
                raise RequestError(f"{len(prompts)} prompts with {len(each)} sampling_params")
        else:
            prompts, each = [prompts] * sampling.get("n", 1), [sampling] * sampling.get("n", 1)
        return [self._member(prompt, settings) for prompt, settings in zip(prompts, each, strict=True)]

    def _member(self, prompt: Any, sampling: Mapping[str, Any]) -> Member:
        for name, nothing in NEUTRAL.items():
            if sampling.get(name, nothing) != nothing:
                raise RequestError(f"{name} is not served here: leave it at {nothing}")
        size = self._parts.manager.model_config.vocab_size
        if not isinstance(prompt, list) or not prompt or not all(type(token) is int and 0 <= token < size for token in prompt):
            raise RequestError(f"input_ids must be tokens in [0, {size}), one list of them or a list of lists")
        return prompt, {name: value for name, value in sampling.items() if name not in (*NEUTRAL, "n")}

    async def _group(self, name: str, members: list[Member]) -> list[dict[str, Any]]:
        """The members as requests of their own; the first pass over a prompt that they share is one for all."""
        prompt, sampling = members[0]
        if len(members) > 1 and all(other == prompt for other, _ in members):
            first = await self._one(f"{name}-prompt", prompt, {**sampling, "max_new_tokens": 1})
            if first["meta_info"]["finish_reason"]["type"] == "abort":
                nothing = {**first["meta_info"], "completion_tokens": 0, "output_token_logprobs": []}
                return [{**first, "text": "", "output_ids": [], "meta_info": dict(nothing)} for _ in members]
        return list(await asyncio.gather(*(self._one(f"{name}-{n}", *member) for n, member in enumerate(members))))

    async def _one(self, name: str, prompt: list[int], sampling: dict[str, Any]) -> dict[str, Any]:
        request = self._parts.request(rid=name, input_ids=list(prompt), sampling_params=dict(sampling), return_logprob=True)
        async for answer in self._parts.manager.generate_request(request, None):
            return answer
        raise RequestError(f"request {name} ended without an answer")

    def _wait(
        self, job: concurrent.futures.Future[list[dict[str, Any]]], name: str, count: int, is_gone: Callable[[], bool]
    ) -> list[dict[str, Any]]:
        is_aborted = False
        while True:
            try:
                return job.result(GONE_POLL_S)
            except concurrent.futures.TimeoutError:
                if job.done():
                    raise
            if is_gone() and not is_aborted:
                is_aborted = True
                for member in (f"{name}-{n}" for n in ("prompt", *range(count))):
                    self._loop.call_soon_threadsafe(self._parts.manager.abort_request, member)

    # ---- weights -----------------------------------------------------------------------------------------------------------

    def pause(self, mode: str) -> None:
        """Holds new requests back, and returns when none is under way; `mode` "abort" ends those early. Raises RequestError."""
        if mode not in PAUSE_MODES:
            raise RequestError(f"mode {mode!r} is not one of {', '.join(PAUSE_MODES)}")
        with self._gate:
            self._is_paused = True
        if mode == "abort":
            self.abort()
        with self._gate:
            self._gate.wait_for(lambda: not self._running)

    def resume(self) -> None:
        """Lets requests in again."""
        with self._gate:
            self._is_paused = False
            self._gate.notify_all()

    def load(self, directory: Path, label: str) -> None:
        """Samples from the weights in `directory` from now on, under the name `label`.

        Raises WeightsError, with the old weights still in use.
        """
        check_shapes(stored_shapes(directory), self._shapes, directory)
        with self._loading, self._stillness():
            if not self.flush():
                raise WeightsError(f"{directory}: the caches of the old weights could not be emptied")
            self._replace(directory)
            self.label, self.model_path = label, str(directory)

    def flush(self) -> bool:
        """Whether the caches could be emptied: not while something is under way."""
        return bool(self._ask(self._parts.empty_caches()))

    def rows(self, name: str, count: int) -> np.ndarray:
        """The first rows of a tensor as a published file has it. Raises RequestError for an unknown name."""
        try:
            return first_rows(self._parts.load, nnx.state(self._parts.runner.model), name, count)
        except KeyError as error:
            raise RequestError(f"there is no tensor {name!r}") from error

    def state(self) -> dict[str, Any]:
        """What the scheduler says of itself, between two steps."""
        found = self._ask(self._parts.manager.get_internal_state())
        return dict(found[0] if isinstance(found, list) else found)

    @contextlib.contextmanager
    def _stillness(self) -> Iterator[None]:
        """Nothing under way inside the block, whether somebody paused before or not."""
        with self._gate:
            was_paused = self._is_paused
        self.pause("retract")
        try:
            yield
        finally:
            if not was_paused:
                self.resume()

    def _replace(self, directory: Path) -> None:
        load, model = self._parts.load, self._parts.runner.model
        config = load.loader.model_config
        before, structure = jax.tree.flatten(nnx.state(model))
        old_path, config.model_path = config.model_path, str(directory)
        try:
            load.run()
            fresh = jax.tree.leaves(nnx.split(model)[1])
            kinds = [[(leaf.shape, leaf.dtype) for leaf in leaves] for leaves in (self._leaves, fresh)]
            if kinds[0] != kinds[1]:
                raise WeightsError(f"{directory}: what was loaded is of other shapes than what is in use")
            jax.block_until_ready(fresh)
        except Exception as error:
            config.model_path = old_path
            nnx.update(model, jax.tree.unflatten(structure, before))
            raise error if isinstance(error, WeightsError) else WeightsError(f"{directory}: {error}") from error
        # The compiled step is called with this very list: no step is built anew.
        self._leaves[:] = fresh

    def _ask(self, question: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(question, self._loop).result(ANSWER_TIMEOUT_S)


def _leaves_in_use(runner: Any) -> list[jax.Array]:
    """The list of parameters that the runner calls its compiled step with. Raises WeightsError where it keeps none."""
    held = inspect.getclosurevars(runner.jitted_run_model).nonlocals.get("model_state_leaves")
    if not isinstance(held, list):
        raise WeightsError(
            "this sglang-jax keeps its parameters elsewhere: sglang_tpu/requirements.txt names the one that works"
        )
    return held

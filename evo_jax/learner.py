"""The update: gradients of the GRPO objective over packed rows, summed micro-batch by micro-batch, then one optimizer step.

One program is compiled per row length and one for the optimizer step. Gradients are summed in float32 in buffers that are
donated from call to call; the loss is linear in the per-role sums, so cutting a batch differently changes nothing but
rounding. Left out: the formulas (`objective`), cutting rows (`packing`), and when weights go to the engine (the trainer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Float32, Int32

from evo_jax.config import Config, ConfigError
from evo_jax.learner_forward import LISTED_FIELDS, Forward, forward_on
from evo_jax.learner_maxtext import MaxTextForward
from evo_jax.objective import (
    ObjectiveInputs,
    RoleSums,
    add_sums,
    empty_sums,
    entropy_bonus_weight,
    grpo_sums,
    total_loss,
)
from evo_jax.optimizer import build_optimizer, learning_rate_schedule
from evo_jax.packing import micro_batch_rows
from evo_jax.policy.cudnn import FEWEST_SEGMENTS, require_cudnn, row_segments
from evo_jax.policy.decoder import Decoder
from evo_jax.policy.lora import LoraParam, initial_adapters, merged_parameters, with_adapters
from evo_jax.policy.packed_attention import visible_keys, worth_gathering
from evo_jax.policy.splash import LANES
from evo_jax.records import Role, TrainBatch
from evo_jax.sharding import (
    in_host_memory,
    like_parameters,
    make_mesh,
    named_sharding,
    parameter_shardings,
    path_names,
    place,
    require_fits,
    shards,
)

type Metrics = dict[str, float | tuple[float, float]]

_TOKEN_FIELDS = ("tokens", "positions", "group_ids", "completion_ids")
_SLOT_FIELDS = ("sources", "targets", "loss_weights", "advantages", "rollout_logprobs", "roles")


@dataclass(frozen=True)
class TrainState:
    """What an update changes: the trained parameters, Optax's state, and the number of updates made so far.

    `params` are all of the decoder's, with LoRA its adapters alone, on MaxText the decoder's as MaxText has them.
    """

    params: nnx.State
    opt_state: Any
    step: Int32[Array, ""]


jax.tree_util.register_dataclass(TrainState, data_fields=["params", "opt_state", "step"], meta_fields=[])


class NonFiniteError(Exception):
    """The loss or its gradient is NaN or infinite. Nothing was applied: `state` is the last good one."""

    def __init__(self, message: str, state: TrainState) -> None:
        super().__init__(message)
        self.state = state


class Learner:
    """Turns packed rows into better parameters. Holds settings, compiled programs and, with LoRA alone, the frozen base."""

    def __init__(self, config: Config, decoder: Decoder, mesh: Mesh | None = None) -> None:
        """Reads objective, optimizer, learner, policy, the temperatures of both roles and `steps` of `config`.

        Of `decoder` only the structure is kept (`init` takes its weights), but with LoRA its weights too: they are the base.
        The default mesh is one device.
        """
        self._config = config
        self._objective = config.objective
        by_role = {Role.SOLVER: config.rollout.temperature, Role.PROPOSER: config.evolve.proposal_temperature}
        self._temperatures = tuple(by_role[role] for role in Role)
        self._mesh = make_mesh() if mesh is None else mesh
        require_fits(self._mesh, decoder.config, config.learner.row_tokens)
        if decoder.config.num_experts and config.policy.backend != "maxtext":
            raise ConfigError(
                f"a {decoder.config.family} is a mixture of experts, which only MaxText computes: set policy.backend='maxtext'"
            )
        self._maxtext = MaxTextForward(config.policy, decoder, self._mesh) if config.policy.backend == "maxtext" else None
        self._forward: Forward = self._maxtext or forward_on(self._mesh, config.policy.attention)
        if self.attention in ("splash", "MaxText's flash") and config.learner.row_tokens % (
            LANES * shards(self._mesh, "tokens")
        ):
            raise ConfigError(
                f"learner.row_tokens={config.learner.row_tokens}: attention by splash works on multiples of {LANES} tokens a "
                f"device, and mesh.context is {shards(self._mesh, 'tokens')}"
            )
        if self.attention == "cudnn":
            require_cudnn(self._mesh.devices.flat[0], decoder.compute_dtype, decoder.config.head_size)
        self._adapts = config.lora.rank > 0
        if self._adapts:
            decoder = with_adapters(decoder, config.lora)
        # Wide enough that a small change of a narrow base reaches an engine that computes wide.
        self._merged_dtype = jnp.promote_types(decoder.embedding.dtype, decoder.compute_dtype)
        trained = decoder if self._maxtext is None else self._maxtext.decoder
        self._graph, abstract, *others = nnx.split(trained, LoraParam if self._adapts else nnx.Param, ...)
        frozen: nnx.State = others[0]
        shardings_of = partial(parameter_shardings, self._mesh) if self._maxtext is None else self._maxtext.shardings
        self._frozen = place(frozen, shardings_of(frozen))
        self._adapters = abstract if self._adapts else None
        # What is trained where it is not the decoder's own parameters: shapes alone.
        self._trained = abstract if self._adapts or self._maxtext else None
        schedule_of = (config.optimizer, config.steps, config.objective.updates_per_batch)
        self._optimizer = build_optimizer(*schedule_of)
        self._learning_rate = learning_rate_schedule(*schedule_of)
        self._param_shardings = shardings_of(abstract)
        shapes = jax.eval_shape(self._new_state, abstract)
        working = like_parameters(self._mesh, shapes, self._param_shardings)
        self._moment_places = working.opt_state
        if config.optimizer.moments_memory == "host":
            working = replace(working, opt_state=in_host_memory(working.opt_state, shapes.opt_state))
        self._state_shardings = working
        replicated = named_sharding(self._mesh, ())
        self._sum_shardings = (self._param_shardings, jax.tree.map(lambda _: replicated, empty_sums()))
        self._zeros = jax.jit(_zero_sums, out_shardings=self._sum_shardings)
        self._micro_step = jax.jit(self._add_micro_batch, donate_argnums=0, out_shardings=self._sum_shardings)
        self._global_norm = jax.jit(optax.tree.norm)
        self._apply = jax.jit(self._apply_gradients, donate_argnums=0, out_shardings=self._state_shardings)
        self._score = jax.jit(self._logprobs)

    @property
    def attention(self) -> str:
        """Which attention the update runs: 'xla', 'splash' or 'cudnn', or what MaxText calls its own."""
        return self._forward.attention

    @property
    def state_shardings(self) -> TrainState:
        """Where each leaf of a TrainState lives (for restoring a checkpoint)."""
        return self._state_shardings

    def init(self, params: nnx.State) -> TrainState:
        """A fresh state with the decoder's `params` (copied, since `update` gives its state's buffers away).

        With LoRA `params` stay out of it: it holds new adapters, drawn from config.seed.
        """
        if self._adapters is not None:
            params = initial_adapters(self._adapters, self._config.seed)
        elif self._maxtext is not None:
            params = self._maxtext.to_maxtext(params)
        copied = jax.jit(lambda params: self._new_state(jax.tree.map(jnp.copy, params)), out_shardings=self._state_shardings)
        return copied(params)

    def abstract_state(self, params: nnx.State) -> TrainState:
        """Shapes, dtypes and shardings of `init(params)`, without allocating anything."""
        shapes = jax.eval_shape(self._new_state, params if self._trained is None else self._trained)

        return jax.tree.map(self._with_sharding, shapes, self._state_shardings)

    def lower(self, params: nnx.State, row_tokens: int) -> dict[str, jax.stages.Lowered]:
        """The programs of an update with rows of `row_tokens`, from shapes alone: for `--dry_run`, and for looking inside.

        'micro-step' adds one micro-batch's gradient to the sum, 'optimizer step' applies the sum.
        """
        state = self.abstract_state(params)
        zeros = jax.tree.map(self._with_sharding, jax.eval_shape(_zero_sums, state.params), self._sum_shardings)
        fields = {name: jax.ShapeDtypeStruct((), np.int32) for name in (*_TOKEN_FIELDS, *_SLOT_FIELDS)}
        floats = dict.fromkeys(("loss_weights", "advantages", "rollout_logprobs"), jax.ShapeDtypeStruct((), np.float32))
        shape, places = (self._micro_rows(row_tokens), row_tokens), self._micro_places()
        micro = {name: jax.ShapeDtypeStruct(shape, x.dtype, sharding=places[name]) for name, x in (fields | floats).items()}
        if self.attention == "cudnn":
            for name, numbers in (("own_segments", 2), ("prompt_segments", 4)):
                sizes = (shape[0], FEWEST_SEGMENTS, numbers)
                micro[name] = jax.ShapeDtypeStruct(sizes, np.int32, sharding=places[name])
        scalars = jax.ShapeDtypeStruct((len(Role),), np.float32), jax.ShapeDtypeStruct((), np.float32)
        return {
            "micro-step": self._micro_step.lower(zeros, state.params, self._frozen, micro, *scalars),
            "optimizer step": self._apply.lower(state, zeros[0]),
        }

    def policy_params(self, params: nnx.State) -> nnx.State:
        """What samples and is exported: all parameters of a plain decoder, from a TrainState's `params`.

        With LoRA adapters are merged into copies of the weights that they stand beside (the others are the base's own arrays),
        in the wider of parameter and compute dtype. From MaxText the same numbers in the plain decoder's layout.
        """
        if self._maxtext is not None:
            return self._maxtext.to_plain(params)
        if not self._adapts:
            return params
        return merged_parameters(self._frozen, params, self._config.lora.scale, self._merged_dtype)

    def reference_params(self, params: nnx.State) -> nnx.State:
        """What `update` takes as the reference policy, from the decoder's parameters at the start of the run.

        With LoRA adapters of zeros: the base itself, without a second copy of it.
        """
        if self._maxtext is not None:
            return self._maxtext.to_maxtext(params)
        return params if self._adapters is None else jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._adapters)

    def update(
        self, state: TrainState, batches: Sequence[TrainBatch], reference_params: nnx.State | None = None
    ) -> tuple[TrainState, Metrics]:
        """`updates_per_batch` optimizer steps on the rows of `batches`; without rows the state comes back as it is.

        The buffers of `state` are donated: use the returned one. Metrics are (sum, count) pairs where they are means, the
        solver's under their plain name, the proposer's under proposer/. Raises NonFiniteError, with nothing applied.
        """
        if (reference_params is not None) != (self._objective.kl_estimator != "none"):
            raise ConfigError(
                f"objective.kl_estimator={self._objective.kl_estimator!r} and a reference policy "
                f"{'was' if reference_params is not None else 'was not'} handed to the update: they belong together"
            )
        if self._maxtext is not None and any(batch.completion_ids.max(initial=0) > 1 for batch in batches):
            raise ConfigError("MaxText's attention would let completions see one another: pack rows with share_prompts=False")
        if not batches:
            return state, {_named("trained_tokens", role): 0.0 for role in Role}
        constants, entropy_weight = self._constants(state.params, batches, reference_params)
        metrics: Metrics = {}
        for _ in range(self._objective.updates_per_batch):
            gradients, sums = self._zeros(state.params)
            for micro in self._micro_batches(batches, constants):
                denominators = batches[0].role_denominators
                gradients, sums = self._micro_step(
                    (gradients, sums), state.params, self._frozen, micro, denominators, entropy_weight
                )
            host_sums, norm, step = jax.device_get((sums, self._global_norm(gradients), state.step))
            found = self._metrics(host_sums, batches[0].role_denominators, float(norm), int(step))
            self._require_finite(found, gradients, state)
            state = self._apply(state, gradients)
            metrics = _merged(metrics, found)
        return state, metrics

    def token_logprobs(self, params: nnx.State, batch: TrainBatch) -> Float32[np.ndarray, "R N"]:
        """The log-prob of every target under `params`, at the sampling temperature; 0 in empty slots."""
        return self._score_all(params, [batch])[0][0]

    # ---- before the first update of a batch --------------------------------------------------------------------------------

    def _constants(
        self, params: nnx.State, batches: Sequence[TrainBatch], reference_params: nnx.State | None
    ) -> tuple[list[dict[str, np.ndarray]], Float[Array, ""]]:
        """Per batch the log-probs that no update changes, and the weight of the entropy bonus.

        With one update per batch the proximal log-probs are the policy's own, so no forward pass is spent on them; the
        entropy floor needs one, because the mean over all micro-batches must be known before the first gradient.
        """
        constants: list[dict[str, np.ndarray]] = [{} for _ in batches]
        entropy_weight = 0.0
        if self._objective.updates_per_batch > 1 or self._objective.entropy_weight:
            scored = self._score_all(params, batches)
            if self._objective.updates_per_batch > 1:
                constants = [{"proximal_logprobs": logprobs} for logprobs, _ in scored]
            entropies = np.concatenate([s[1][b.loss_weights > 0] for s, b in zip(scored, batches, strict=True)])
            entropy_weight = entropy_bonus_weight(float(entropies.mean(dtype=np.float64)), self._objective)
        if reference_params is not None:
            reference = [logprobs for logprobs, _ in self._score_all(reference_params, batches)]
            constants = [{**known, "reference_logprobs": r} for known, r in zip(constants, reference, strict=True)]
        return constants, jnp.float32(entropy_weight)

    def _score_all(self, params: nnx.State, batches: Sequence[TrainBatch]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Log-probs and entropies [R, N] of each batch."""
        results = []
        for batch in batches:
            pending = [self._score(params, self._frozen, micro) for micro in self._micro_batches([batch], [{}])]
            parts = jax.device_get(pending)
            rows, slots = batch.targets.shape
            logprobs, entropies = (np.concatenate(part).reshape(-1, slots)[:rows] for part in zip(*parts, strict=True))
            results.append((logprobs, entropies))
        return results

    def _micro_batches(
        self, batches: Sequence[TrainBatch], constants: Sequence[dict[str, np.ndarray]]
    ) -> Iterator[dict[str, Array]]:
        """Rows in portions of one shape per row length, on the mesh; empty rows fill up what the mesh cannot cut evenly."""
        places = self._micro_places()
        for batch, known in zip(batches, constants, strict=True):
            arrays = {name: getattr(batch, name) for name in (*_TOKEN_FIELDS, *_SLOT_FIELDS)} | known
            if shards(self._mesh, "tokens") == 1 and self.attention == "xla":
                visible = visible_keys(batch.group_ids, batch.completion_ids)
                if worth_gathering(visible, batch.tokens.shape[1]):
                    arrays["visible_keys"] = visible
            if self.attention == "cudnn":
                arrays["own_segments"], arrays["prompt_segments"] = row_segments(batch.group_ids, batch.completion_ids)
            rows = self._micro_rows(batch.tokens.shape[1])
            for start in range(0, batch.tokens.shape[0], rows):
                micro = {name: x[start : start + rows] for name, x in arrays.items()}
                missing = rows - micro["tokens"].shape[0]
                if missing:
                    micro = {name: np.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1))) for name, x in micro.items()}
                yield {name: jax.device_put(x, places[name]) for name, x in micro.items()}

    def _micro_rows(self, row_tokens: int) -> int:
        """Rows of a micro-batch on all devices together."""
        parts = shards(self._mesh, "rows")
        return -(-micro_batch_rows(self._config.learner, row_tokens) // parts) * parts

    def _micro_places(self) -> dict[str, NamedSharding]:
        """Where each field of a micro-batch lies."""
        by_tokens, by_slots, by_rows = (
            named_sharding(self._mesh, axes) for axes in (("rows", "tokens"), ("rows", "slots"), ("rows",))
        )
        slots = (*_SLOT_FIELDS, "proximal_logprobs", "reference_logprobs")
        return dict.fromkeys(_TOKEN_FIELDS, by_tokens) | dict.fromkeys(slots, by_slots) | dict.fromkeys(LISTED_FIELDS, by_rows)

    @staticmethod
    def _with_sharding(leaf: jax.ShapeDtypeStruct, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    # ---- compiled ----------------------------------------------------------------------------------------------------------

    def _new_state(self, params: nnx.State) -> TrainState:
        return TrainState(params, self._optimizer.init(params), jnp.zeros((), jnp.int32))

    def _logprobs(
        self, params: nnx.State, frozen: nnx.State, micro: dict[str, Array]
    ) -> tuple[Float[Array, " S"], Float[Array, " S"]]:
        """Log-prob of the target and entropy, of all slots of the rows in one line; 0 where a slot is empty."""
        decoder = nnx.merge(self._graph, params, frozen)
        policy = self._config.policy
        hidden = self._forward.hidden(decoder, micro, policy)
        temperature = jnp.float32(self._temperatures)[micro["roles"]]
        chunk_rows = policy.logits_chunk_tokens
        return self._forward.logprobs(hidden, decoder.head_weight(), micro, temperature, chunk_rows)

    def _add_micro_batch(
        self,
        total: tuple[nnx.State, RoleSums],
        params: nnx.State,
        frozen: nnx.State,
        micro: dict[str, Array],
        denominators: Float[Array, " 2"],
        entropy_weight: Float[Array, ""],
    ) -> tuple[nnx.State, RoleSums]:
        def loss(params: nnx.State) -> tuple[Float[Array, ""], RoleSums]:
            policy_logprobs, entropy = self._logprobs(params, frozen, micro)
            slots = {name: micro[name].reshape(-1) for name in micro if name not in (*_TOKEN_FIELDS, *LISTED_FIELDS)}
            inputs = ObjectiveInputs(
                policy_logprobs=policy_logprobs,
                proximal_logprobs=slots.get("proximal_logprobs", policy_logprobs),
                rollout_logprobs=slots["rollout_logprobs"],
                reference_logprobs=slots.get("reference_logprobs", policy_logprobs),
                entropy=entropy,
                advantages=slots["advantages"],
                weights=slots["loss_weights"],
                roles=slots["roles"],
            )
            sums = grpo_sums(inputs, self._objective, entropy_weight)
            return total_loss(sums.loss, denominators, self._objective), sums

        gradients, sums = jax.grad(loss, has_aux=True)(params)
        added = jax.tree.map(lambda a, g: a + g.astype(jnp.float32), total[0], gradients)
        return added, add_sums(total[1], sums)

    def _apply_gradients(self, state: TrainState, gradients: nnx.State) -> TrainState:
        moments = state.opt_state
        if self._config.optimizer.moments_memory == "host":
            moments = jax.device_put(moments, self._moment_places)
        updates, opt_state = self._optimizer.update(gradients, moments, state.params)
        return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1)

    # ---- what is reported --------------------------------------------------------------------------------------------------

    def _metrics(self, sums: RoleSums, denominators: np.ndarray, norm: float, step: int) -> Metrics:
        loss = float(total_loss(jnp.asarray(sums.loss), jnp.asarray(denominators), self._objective))
        metrics: Metrics = {
            "loss": (loss, 1.0),
            "grad_norm": (norm, 1.0),
            "learning_rate": float(self._learning_rate(jnp.int32(step))),
        }
        for role in Role:
            at, tokens = role.position, float(sums.tokens[role.position])
            metrics[_named("trained_tokens", role)] = tokens
            metrics[_named("objective", role)] = (float(sums.objective[at]), float(denominators[at]))
            for name, values in sums.metrics.items():
                if name != "kl" or self._objective.kl_estimator != "none":
                    metrics[_named(name, role)] = (float(values[at]), tokens)
            if tokens:
                metrics |= {_named(name, role): float(values[at]) for name, values in sums.maxima.items()}
        return metrics

    def _require_finite(self, metrics: Metrics, gradients: nnx.State, state: TrainState) -> None:
        """Two numbers decide; single parameters are only looked at once something is wrong."""
        step = int(state.step)
        broken = {name: metrics[name][0] for name in ("loss", "grad_norm")}  # type: ignore[index]
        if all(np.isfinite(value) for value in broken.values()):
            return
        flags = jax.device_get(jax.tree.map(lambda g: jnp.isfinite(g).all(), gradients))
        names = [path_names(path) for path, ok in jax.tree_util.tree_flatten_with_path(flags)[0] if not ok]
        some = ", ".join(".".join(map(str, name)) for name in names[:3])
        where = f"; the gradient is broken in {len(names)} parameters ({some})" if names else ""
        raise NonFiniteError(
            f"update {step + 1}: loss is {broken['loss']}, gradient norm {broken['grad_norm']}{where}. The parameters are "
            f"those after update {step}; lower optimizer.learning_rate, or look for broken rewards or log-probs in this batch",
            state,
        )


def _zero_sums(params: nnx.State) -> tuple[nnx.State, RoleSums]:
    return jax.tree.map(lambda p: jnp.zeros(p.shape, jnp.float32), params), empty_sums()


def _named(name: str, role: Role) -> str:
    """The solver's metrics carry no prefix."""
    return name if role is Role.SOLVER else f"{role}/{name}"


def _merged(before: Metrics, after: Metrics) -> Metrics:
    """Metrics over the updates of one batch: pairs add up, maxima and the last learning rate are kept."""
    merged: Metrics = dict(before)
    for name, value in after.items():
        known = before.get(name)
        if isinstance(value, tuple):
            merged[name] = (known[0] + value[0], known[1] + value[1]) if isinstance(known, tuple) else value
        elif name.endswith("/max") and isinstance(known, float):
            merged[name] = max(known, value)
        else:
            merged[name] = value
    return merged

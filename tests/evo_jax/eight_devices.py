"""Run as a program with eight simulated devices: the same update, engine and checkpoint on several meshes, as JSON.

    python -m tests.evo_jax.eight_devices DIRECTORY [BACKEND [MESHES [MODEL]]]     (MESHES as JSON; MODEL: dense or mixture)

For each mesh: how far loss, gradients and parameters are from one device's, which parameters are cut, and the collectives of
one micro-step as compiled.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from evo_jax.advantages import compute_advantages
from evo_jax.checkpoint import Checkpoint, CheckpointStore
from evo_jax.compiled_costs import read_costs
from evo_jax.config import Config, LearnerConfig, OptimizerConfig, PolicyConfig
from evo_jax.learner import Learner
from evo_jax.packing import pack
from evo_jax.policy.decoder import random_decoder
from evo_jax.policy.model_config import ModelConfig
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.protocol import Completion, RolloutRequest, SamplingParams
from evo_jax.rollouts.weight_sync import sync_weights
from evo_jax.sharding import make_mesh, path_names
from tests.evo_jax.conftest import build_scored
from tests.evo_jax.rollouts.tiny_policy import byte_tokenizer

MESHES = ((1, 1, 1, 1), (8, 1, 1, 1), (1, 8, 1, 1), (1, 4, 2, 1), (2, 2, 2, 1), (1, 2, 2, 2))
MODEL = ModelConfig("qwen3", 304, 2, 16, 24, 8, 4, 4, qk_norm=True, tied_embeddings=True, max_positions=256)
MIXTURE = replace(MODEL, family="qwen3_moe", num_experts=4, experts_per_token=2, expert_ffn_width=16)
# Adam's first step is -lr * g / (|g| + eps): with a huge eps it is a plain step of SGD at rate lr / eps.
RATE = 10.0
PLAIN_DESCENT = OptimizerConfig(learning_rate=RATE * 1e6, adam_eps=1e6, max_grad_norm=1e9)
CONFIG = Config(
    learner=LearnerConfig(row_tokens=64, rows_per_micro_batch=2),
    policy=PolicyConfig(compute_dtype="float32", logits_chunk_tokens=16, remat="full"),
    optimizer=PLAIN_DESCENT,
)


def batches(config):
    scored = build_scored([[1, 0, 0], [0, 1, 1]] * 4, prompt_lengths=[9, 12] * 4, lengths=[[5, 7, 9], [12, 3, 4]] * 4)
    shared = config.policy.backend == "native"
    return pack([compute_advantages(scored, config.objective)], config.learner, config.objective, share_prompts=shared)


def flat(tree) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {".".join(map(str, path_names(path))): np.asarray(leaf) for path, leaf in leaves}


def furthest(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - expected[name]).max()) for name in found)


def completions(decoder, mesh, params) -> tuple[list[list[int]], np.ndarray]:
    settings = EngineSettings(slots=16, lanes=4, dispatch_steps=4, length_bucket_tokens=16, max_prompt_tokens=48)
    engine = EmbeddedEngine(decoder.config, byte_tokenizer(), settings, mesh=mesh)
    sync_weights(engine, params, 1)
    sampling = SamplingParams(max_completion_tokens=6, temperature=1.0)
    requests = [RolloutRequest(f"{i}", tuple(range(44, 50 + 4 * i)), 3, i, sampling) for i in range(3)]
    found = engine.generate(requests)
    # Gone on with from the third token: what is read in lies with the lanes and heads that decoding looks at.
    begun = [tuple(cut(completion, 3) for completion in group) for group in found]
    found += engine.generate([replace(request, begun=group) for request, group in zip(requests, begun, strict=True)])
    logprobs = [completion.logprobs for group in found for completion in group]
    return [completion.tokens.tolist() for group in found for completion in group], np.concatenate(logprobs)


def cut(completion: Completion, count: int) -> Completion:
    """The completion as it was after `count` tokens."""
    parts = {name: getattr(completion, name)[:count] for name in ("tokens", "logprobs", "policy_versions")}
    return replace(completion, **parts, finish_reason="abort" if len(completion.tokens) > count else completion.finish_reason)


def cut_into(compiled_shardings, shapes) -> dict[str, int]:
    """Into how many different pieces the compiled program takes each parameter."""
    shardings = jax.tree_util.tree_flatten_with_path(compiled_shardings)[0]
    pieces = {}
    for (path, sharding), shape in zip(shardings, jax.tree.leaves(shapes), strict=True):
        name = ".".join(map(str, path_names(path)))
        pieces[name] = shape.size // int(np.prod(sharding.shard_shape(shape.shape)))
    return pieces


def on_mesh(shape, config, decoder, packed, directory: Path, first: dict) -> dict:
    mesh, params = make_mesh(shape), nnx.state(decoder)
    learner = Learner(config, decoder, mesh)
    step = learner.lower(params, config.learner.row_tokens)["micro-step"].compile()
    costs = read_costs(step.as_text())
    begun = learner.init(params)
    # The engine's own difference: from the same parameters, or the update's rounding would be in it.
    placed = learner.policy_params(jax.tree.map(jnp.copy, begun.params))
    shapes = jax.eval_shape(lambda: begun.params)
    state, metrics = learner.update(begun, packed)
    found = {"params": flat(learner.policy_params(state.params)), "loss": metrics["loss"][0]}
    scanned = Learner(replace(config, policy=replace(config.policy, scan_layers=True)), decoder, mesh)
    found["scanned"] = flat(scanned.policy_params(scanned.update(scanned.init(params), packed)[0].params))
    found["tokens"], found["logprobs"] = [], np.zeros(1)
    if not decoder.config.num_experts:  # which the engine cannot compute
        found["tokens"], found["logprobs"] = completions(decoder, mesh, placed)
    if not first:
        first |= found
        store = CheckpointStore(directory / "one", keep=2)
        store.save(Checkpoint(1, state, {}))
        store.close()
    store = CheckpointStore(directory / "one", keep=2, read_only=True)
    restored = store.restore(learner.abstract_state(params), print).state
    store.close()
    state_furthest = furthest(flat(learner.policy_params(restored.params)), first["params"])
    back = CheckpointStore(directory / "x".join(map(str, shape)), keep=2)
    back.save(Checkpoint(1, state, {}))
    by_itself = Learner(config, decoder)
    alone = by_itself.policy_params(back.restore(by_itself.abstract_state(params), print).state.params)
    back.close()
    furthest_parameter = furthest(found["params"], first["params"])
    return {
        "mesh": shape,
        "loss_difference": abs(found["loss"] - first["loss"]),
        "parameter_difference": furthest_parameter,
        "gradient_difference": furthest_parameter / RATE,
        "scanned_difference": furthest(found["scanned"], first["params"]),
        "largest_change": furthest(found["params"], flat(params)),
        "parameters_cut_into": cut_into(step.input_shardings[0][1], shapes),
        "gradients_cut_into": cut_into(step.output_shardings[0], shapes),
        "collectives": {kind: [runs, sent] for kind, (runs, sent) in costs.by_kind().items()},
        "product_flops": costs.product_flops,
        "same_tokens": found["tokens"] == first["tokens"],
        "logprob_difference": float(np.abs(found["logprobs"] - first["logprobs"]).max()),
        "restored_difference": state_furthest,
        "restored_alone_difference": furthest(flat(alone), found["params"]),
        "restored_pieces": cut_into(jax.tree.map(lambda x: x.sharding, restored.params), shapes),
    }


def main(directory: Path, backend: str = "native", meshes: str = json.dumps(MESHES), model: str = "dense") -> None:
    config = replace(CONFIG, policy=replace(CONFIG.policy, backend=backend))
    decoder = random_decoder({"dense": MODEL, "mixture": MIXTURE}[model], jax.random.key(0))
    packed, first = batches(config), {}
    for shape in map(tuple, json.loads(meshes)):
        print(json.dumps(on_mesh(shape, config, decoder, packed, directory, first)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

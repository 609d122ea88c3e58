"""Run as a program, with eight simulated devices for the larger meshes: updates through a double of cuDNN, as JSON.

    python -m tests.evo_jax.cudnn_on_meshes

For each mesh: how far loss and parameters after one plain step of descent are from those of the plain attention on one device.
"""

import json
from dataclasses import replace
from functools import partial

import jax
from flax import nnx

from evo_jax import learner as learner_module
from evo_jax import learner_forward
from evo_jax.learner import Learner
from evo_jax.learner_forward import MeshForward, OneDeviceForward
from evo_jax.policy.cudnn import cudnn_attend
from evo_jax.policy.decoder import random_decoder
from evo_jax.sharding import make_mesh
from tests.evo_jax.eight_devices import CONFIG, MODEL, RATE, batches, flat, furthest
from tests.evo_jax.policy.cudnn_double import CudnnDouble

PLAIN_CONFIG = replace(CONFIG, policy=replace(CONFIG.policy, attention="xla"))
MESHES = ((2, 2, 2, 1), (1, 2, 2, 2), (1, 1, 1, 4))
CUDNN_CONFIG = replace(CONFIG, policy=replace(CONFIG.policy, attention="cudnn"))


def use_cudnn(patch=setattr, kernel=None) -> None:
    """A learner that is asked for cuDNN gets it, or the double given, whatever device and dtype it computes with."""

    def forward_on(mesh, attention):
        return OneDeviceForward(attention) if mesh.size == 1 else MeshForward(mesh, attention)

    patch(learner_module, "require_cudnn", lambda *found: None)
    patch(learner_module, "forward_on", forward_on)
    if kernel is not None:
        patch(learner_forward, "cudnn_attend", partial(cudnn_attend, kernel=kernel))


def step(config, decoder, packed, mesh=None):
    """(loss, parameters) after one update."""
    learner = Learner(config, decoder, mesh)
    assert learner.attention == config.policy.attention
    state, metrics = learner.update(learner.init(nnx.state(decoder)), packed)
    return metrics["loss"][0], flat(learner.policy_params(state.params))


def main() -> None:
    use_cudnn(kernel=CudnnDouble())
    decoder, packed = random_decoder(MODEL, jax.random.key(0)), batches(CONFIG)
    loss, params = step(PLAIN_CONFIG, decoder, packed)
    for shape in MESHES:
        found = step(CUDNN_CONFIG, decoder, packed, make_mesh(shape))
        gradient = furthest(found[1], params) / RATE
        print(json.dumps({"mesh": shape, "loss_difference": abs(found[0] - loss), "gradient_difference": gradient}), flush=True)


if __name__ == "__main__":
    main()

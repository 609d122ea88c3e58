"""Run as a program by both processes of a job: a policy that they hold together is published by process 0, and embeds texts.

    python -m tests.evo_jax.hosts.shared_policy POLICY DIRECTORY

Process 0 leaves the published version in DIRECTORY/published and prints the vectors as JSON.
"""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import jax
from flax import nnx

from evo_jax.config import MeshConfig
from evo_jax.hosts.link import join
from evo_jax.lent_models import PolicyEmbedder
from evo_jax.policy.loading import load_policy
from evo_jax.rollouts.servers_elsewhere import ServersElsewhere
from evo_jax.rollouts.weight_transport import DirectoryTransport
from evo_jax.sharding import mesh_of, place_parameter

TEXTS = ("one", "a somewhat longer text, with more words in it than the first")
DTYPE = "bfloat16"


def changed(params: nnx.State) -> nnx.State:
    """Version 1: one tensor is not what it was."""
    leaves, tree = jax.tree.flatten(params)
    return jax.tree.unflatten(tree, [*leaves[:-1], leaves[-1] * 1.5])


def main(policy_path: Path, directory: Path) -> None:
    """This process's part."""
    join()
    place = partial(place_parameter, mesh_of(MeshConfig(data=1, fsdp=2)))
    policy = load_policy(policy_path, compute_dtype="float32", place=place)
    params = nnx.state(policy.decoder)
    assert not all(leaf.is_fully_replicated for leaf in jax.tree.leaves(params))
    embedder = PolicyEmbedder(policy, "tiny")
    if jax.process_index():
        helper = ServersElsewhere(DTYPE)
        for version, weights in enumerate((params, changed(params))):
            helper.load_weights(weights, version)
        embedder.embed(TEXTS)
        return
    transport = DirectoryTransport(policy.model_config, policy.tokenizer, dtype=DTYPE, parent=directory)
    for version, weights in enumerate((params, changed(params))):
        published = transport.publish(weights, version)
        transport.retire(published)
    shutil.copytree(published.directory, directory / "published")
    transport.close()
    print(json.dumps(embedder.embed(TEXTS)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))

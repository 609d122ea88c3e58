"""The flags of a launch, one for every setting, and Settings made from them.

Left out: the flags of single actions, which the entries define.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from launch_tpu.errors import LaunchError
from launch_tpu.settings import LAUNCHERS, Settings

ACTIONS = ("create", "run", "watch", "fetch", "delete")

# name -> help; the default and the type are those of the field of Settings.
_FLAGS = {
    "launcher": f"One of {', '.join(LAUNCHERS)}.",
    "run_name": "Names the run directory and the cloud resources: a-z, 0-9 and '-'.",
    "config": "The config file, as evo_jax.train takes it; it must be in the commit or image too.",
    "project": "Google Cloud project.",
    "zone": "Zone of the TPU; for GKE the cluster's zone or region.",
    "accelerator_type": "v6e-16, v5p-128, v5litepod-256, or GKE's label of a GPU (SkyPilot, Slurm: their own name of it).",
    "topology": "Of the slice, where it is not the usual one: 4x4x8.",
    "num_slices": "TPU slices (multislice).",
    "num_nodes": "Machines with GPUs.",
    "gpus_per_node": "GPUs of each.",
    "runtime_version": "Of the TPU VM; empty: the one that fits accelerator_type.",
    "spot": "Spot capacity: cheaper, and taken away at any time.",
    "reserved": "Reserved capacity.",
    "valid_until": "How long to wait in the queue: 6h, 2d; empty: without end.",
    "repository": "https://... that the hosts clone.",
    "commit": "The 40 digits of the commit they check out.",
    "image": "The image that the pods run (launch_tpu/Dockerfile).",
    "cluster": "The GKE cluster.",
    "namespace": "Kubernetes namespace.",
    "queue": "Kueue's LocalQueue.",
    "volume": "PersistentVolumeClaim (jobset) or xpk storage (xpk) that holds run_root.",
    "service_account": "Of the TPU VM (an e-mail address) or the pods (a Kubernetes service account).",
    "run_root": "Directory on the hosts that run directories lie in.",
    "nfs": "SERVER:/EXPORT that the hosts mount at run_root.",
    "bucket": "gs://NAME/PREFIX: checkpoints, and all that a resume needs, at every checkpoint.",
    "partition": "Slurm partition.",
    "slurm_account": "Slurm account.",
    "time_limit": "Slurm time limit: HOURS:MM:SS or DAYS-HH:MM:SS.",
    "code_dir": "The checkout on a Slurm cluster; empty: where `create` is called.",
    "grace_seconds": "Between SIGTERM and SIGKILL: time for a checkpoint.",
    "max_restarts": "How often a failed run is started again.",
}


def define_launch_flags() -> None:
    """Defines them all, --set and --mesh included."""
    for name, help_text in _FLAGS.items():
        default = getattr(_defaults(), name)
        if isinstance(default, bool):
            flags.DEFINE_bool(name, default, help_text)
        elif isinstance(default, int):
            flags.DEFINE_integer(name, default, help_text)
        else:
            flags.DEFINE_string(name, default, help_text)
    flags.DEFINE_multi_string("set", [], "name=value: a setting of the config, such as optimizer.learning_rate=1e-5.")
    flags.DEFINE_list("mesh", [], "Sizes of data,fsdp,tensor,context; -1 once: all devices that are left.")


def settings_from_flags() -> Settings:
    """Settings from the parsed flags. Raises LaunchError for a mesh that is no list of numbers."""
    values: dict[str, Any] = {name: flags.FLAGS[name].value for name in (*_FLAGS, "mesh", "set")}
    sizes, overrides = values.pop("mesh"), values.pop("set")
    try:
        mesh = tuple(int(size) for size in sizes)
    except ValueError as error:
        raise LaunchError(f"mesh={','.join(sizes)}: four whole numbers, such as 1,16,1,1") from error
    return Settings(**values, mesh=mesh, overrides=tuple(overrides))


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """absl's parser, with a mistake in a flag told in one line."""
    try:
        return flags.FLAGS(list(arguments), known_only=False)
    except (flags.Error, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _defaults() -> Settings:
    return Settings(launcher="", run_name="", config="")

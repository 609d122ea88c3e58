"""`python -m evo_jax.export --run_dir=RUN --output=DIR`: a checkpoint to a Hugging Face directory, checked by reloading it.

Of a run with LoRA, a whole model with adapters merged, or with --format=adapter the adapters alone, as PEFT has them. Exit
codes: 0 written and checked, 1 a clear error, 2 misuse. Left out: quantisation, uploading.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from flax import nnx

from evo_jax.checkpoint import CheckpointError
from evo_jax.config import ConfigError
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import load_policy
from evo_jax.policy.peft import load_adapters, save_adapters
from evo_jax.restoring import restore_policy
from evo_jax.run_directory import read_config

MERGED, ADAPTER = "merged", "adapter"
RUN_DIR = flags.DEFINE_string("run_dir", "", "Run directory whose checkpoint is exported.")
OUTPUT = flags.DEFINE_string("output", "", "New directory to write; default: <run_dir>/export.")
STEP = flags.DEFINE_integer("step", -1, "Step of the checkpoint; -1 is the newest.")
DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16", "float16"], "How the weights are stored.")
FORMAT = flags.DEFINE_enum("format", MERGED, [MERGED, ADAPTER], "Of a LoRA run: a whole model, or a PEFT directory.")

MISUSE = 2


def export(run_dir: Path, output: Path, *, step: int | None, dtype: str) -> int:
    """Writes and checks the whole policy, adapters merged, and returns the step it was made from.

    Raises:
        CheckpointError: there is no checkpoint, or what was written does not load back as the same weights.
    """
    restored = restore_policy(run_dir, step, compute_dtype="float32", note=_warn)
    policy, params = restored.start, restored.params
    save_huggingface(output, policy.model_config, params, policy.tokenizer, dtype=dtype)
    reloaded = nnx.state(load_policy(output, param_dtype="float32", compute_dtype="float32").decoder)
    stored = jax.numpy.dtype(dtype)
    for (path, wanted), found in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(reloaded), strict=True):
        if not np.array_equal(np.asarray(wanted.astype(stored), np.float32), np.asarray(found, np.float32)):
            raise CheckpointError(f"{output}: {jax.tree_util.keystr(path)} reads back differently; delete it and export again")
    return restored.step


def export_adapters(run_dir: Path, output: Path, *, step: int | None) -> int:
    """Writes and checks the adapters alone, as a PEFT directory in float32, and returns the step they are of.

    Raises:
        ConfigError: the run trains all parameters.
        CheckpointError: there is no checkpoint, or what was written does not load back as the same adapters.
    """
    lora = read_config(run_dir).lora
    if lora.rank == 0:
        raise ConfigError(f"{run_dir} was trained without adapters (lora.rank=0): export it without --format={ADAPTER}")
    restored = restore_policy(run_dir, step, compute_dtype="float32", note=_warn)
    save_adapters(output, restored.adapters, lora, restored.config.policy.path)
    reloaded = load_adapters(output, restored.adapters, lora)
    for (path, wanted), found in zip(jax.tree.leaves_with_path(restored.adapters), jax.tree.leaves(reloaded), strict=True):
        if not np.array_equal(wanted, found):
            raise CheckpointError(f"{output}: {jax.tree_util.keystr(path)} reads back differently; delete it and export again")
    return restored.step


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """Runs what the flags ask for and returns the exit code."""
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file it reads, and warns that it may only read
    if len(arguments) > 1 or not RUN_DIR.value:
        print("error: --run_dir=RUN is needed: the run directory whose checkpoint is exported", file=sys.stderr)
        return MISUSE
    if FORMAT.value == ADAPTER and DTYPE.present:
        print(f"error: --dtype is of whole models: with --format={ADAPTER} adapters stay float32", file=sys.stderr)
        return MISUSE
    run_dir = Path(RUN_DIR.value)
    output = Path(OUTPUT.value) if OUTPUT.value else run_dir / "export"
    try:
        wanted = None if STEP.value < 0 else STEP.value
        if FORMAT.value == ADAPTER:
            step = export_adapters(run_dir, output, step=wanted)
        else:
            step = export(run_dir, output, step=wanted, dtype=DTYPE.value)
    except Exception as error:
        if not type(error).__module__.startswith(("evo_jax", "env_synth")):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    what = "adapters alone, float32" if FORMAT.value == ADAPTER else DTYPE.value
    print(f"exported the policy of step {step} to {output} ({what}), read back and compared tensor by tensor")
    return 0


if __name__ == "__main__":
    app.run(main)

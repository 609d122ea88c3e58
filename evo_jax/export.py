"""`python -m evo_jax.export --run_dir=RUN --output=DIR`: a checkpoint to a Hugging Face directory, checked by reloading it.

Exit codes: 0 written and checked, 1 a clear error, 2 misuse. Left out: quantisation, merging adapters, uploading.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from flax import nnx

from evo_jax.checkpoint import CheckpointError
from evo_jax.policy.huggingface_writing import save_huggingface
from evo_jax.policy.loading import load_policy
from evo_jax.restoring import restore_policy

RUN_DIR = flags.DEFINE_string("run_dir", "", "Run directory whose checkpoint is exported.")
OUTPUT = flags.DEFINE_string("output", "", "New directory to write; default: <run_dir>/export.")
STEP = flags.DEFINE_integer("step", -1, "Step of the checkpoint; -1 is the newest.")
DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["float32", "bfloat16", "float16"], "How the weights are stored.")

MISUSE = 2


def export(run_dir: Path, output: Path, *, step: int | None, dtype: str) -> int:
    """Writes and checks the export and returns the step it was made from.

    Raises:
        CheckpointError: there is no checkpoint, or what was written does not load back as the same weights.
    """

    def warn(text: str) -> None:
        print(f"warning: {text}", file=sys.stderr)

    restored = restore_policy(run_dir, step, compute_dtype="float32", note=warn)
    policy, params = restored.start, restored.params
    save_huggingface(output, policy.model_config, params, policy.tokenizer, dtype=dtype)
    reloaded = nnx.state(load_policy(output, param_dtype="float32", compute_dtype="float32").decoder)
    stored = jax.numpy.dtype(dtype)
    for (path, wanted), found in zip(jax.tree.leaves_with_path(params), jax.tree.leaves(reloaded), strict=True):
        if not np.array_equal(np.asarray(wanted.astype(stored), np.float32), np.asarray(found, np.float32)):
            raise CheckpointError(f"{output}: {jax.tree_util.keystr(path)} reads back differently; delete it and export again")
    return restored.step


def main(arguments: Sequence[str]) -> int:
    """Runs what the flags ask for and returns the exit code."""
    if len(arguments) > 1 or not RUN_DIR.value:
        print("error: --run_dir=RUN is needed: the run directory whose checkpoint is exported", file=sys.stderr)
        return MISUSE
    run_dir = Path(RUN_DIR.value)
    output = Path(OUTPUT.value) if OUTPUT.value else run_dir / "export"
    try:
        step = export(run_dir, output, step=None if STEP.value < 0 else STEP.value, dtype=DTYPE.value)
    except Exception as error:
        if not type(error).__module__.startswith(("evo_jax", "env_synth")):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"exported the policy of step {step} to {output} ({DTYPE.value}), read back and compared tensor by tensor")
    return 0


if __name__ == "__main__":
    app.run(main)

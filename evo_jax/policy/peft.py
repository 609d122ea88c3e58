"""Adapters as a directory in PEFT's format: adapter_config.json and adapter_model.safetensors, with PEFT's names.

PEFT stores A as lora_A [rank, in] and B as lora_B [out, rank], the transposes of ours. Left out: what PEFT can describe and
`lora` cannot do (dropout, ranks by layer, rank-stabilised scale), and starting a run from such a directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from evo_jax.config import LoraConfig
from evo_jax.policy.decoder import flat_parameters
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.huggingface import read_json, tensor_name
from evo_jax.policy.huggingface_writing import new_directory, write_json

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_MATRICES = {"a": "lora_A", "b": "lora_B"}


def adapter_tensor_name(path: Sequence[str | int]) -> str:
    """PEFT's name of the matrix at `path` of the adapters' state, such as ('layers', 3, 'query', 'adapter', 'a')."""
    weight = tensor_name((*path[:-2], "weight"))
    return f"{_PREFIX}{weight.removesuffix('weight')}{_MATRICES[str(path[-1])]}.weight"


def save_adapters(directory: str | Path, adapters: nnx.State, lora: LoraConfig, base: str) -> None:
    """Write adapters, in float32, into the new directory `directory`; `base` is what PEFT is told to load beneath them.

    Raises PolicyError when the directory exists already and is not empty, or can't be written; then nothing is left behind.
    """
    tensors = {
        adapter_tensor_name(path): np.ascontiguousarray(np.asarray(jax.device_get(variable[...]), np.float32).T)
        for path, variable in flat_parameters(adapters)
    }
    with new_directory(Path(directory)) as scratch:
        write_json(scratch / CONFIG_FILE, _config(lora, base))
        safetensors.numpy.save_file(tensors, scratch / WEIGHTS_FILE, metadata={"format": "pt"})


def load_adapters(directory: str | Path, like: nnx.State, lora: LoraConfig) -> nnx.State:
    """The adapters in `directory`, in the structure of `like` (shapes suffice).

    Raises PolicyError for a directory that is damaged, or describes adapters other than `lora`'s at the places of `like`.
    """
    directory = Path(directory)
    found = read_json(directory / CONFIG_FILE)
    for name, value in _config(lora, "").items():
        if name != "base_model_name_or_path" and found.get(name) != value:
            raise PolicyError(f"{directory / CONFIG_FILE}: {name} is {found.get(name)!r}, these adapters have {value!r}")
    file = directory / WEIGHTS_FILE
    try:
        tensors = safetensors.numpy.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise PolicyError(f"{file} is missing or damaged ({error})") from error
    named = {adapter_tensor_name(path): (path, variable) for path, variable in flat_parameters(like)}
    if tensors.keys() != named.keys():
        missing, extra = sorted(named.keys() - tensors.keys()), sorted(tensors.keys() - named.keys())
        raise PolicyError(f"{file}: not these adapters' tensors (missing: {missing[:3]}, unknown: {extra[:3]})")
    filled = []
    for name, (path, variable) in named.items():
        if tensors[name].shape != tuple(variable.shape)[::-1]:
            raise PolicyError(f"{file}: {name} has shape {tensors[name].shape}, expected {tuple(variable.shape)[::-1]}")
        filled.append((path, variable.replace(jax.numpy.asarray(tensors[name].T))))
    return nnx.from_flat_state(filled)


def _config(lora: LoraConfig, base: str) -> dict[str, Any]:
    modules = [tensor_name(("layers", 0, name, "weight")).split(".")[-2] for name in lora.target_names]
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "inference_mode": True,
    }

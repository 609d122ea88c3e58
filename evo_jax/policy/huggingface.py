"""Reading a Hugging Face model directory: config.json, safetensors (one file or sharded), tokenizer.json.

`huggingface_writing` is the way back. Left out: pickled weights (they execute code on loading), quantised tensors,
SentencePiece models without a tokenizer.json.
"""

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import tokenizers

from evo_jax.policy import model_config
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer

# Our parameter's module -> stem of the tensor's name in a layer, model.layers.<i>.<stem>.weight
_LAYER_STEMS = {
    "attention_norm": "input_layernorm",
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "query_norm": "self_attn.q_norm",
    "key_norm": "self_attn.k_norm",
    "output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "router": "mlp.gate",
}
_TOP_NAMES = {"embedding": "model.embed_tokens.weight", "head": "lm_head.weight", "final_norm": "model.norm.weight"}
_READABLE_DTYPES = ("F32", "F16", "BF16")


def tensor_name(path: Sequence[str | int]) -> str:
    """Hugging Face's name of the parameter at `path` of the decoder's state."""
    if path[0] != "layers":
        return _TOP_NAMES[str(path[0])]
    suffix = "bias" if path[-1] == "bias" else "weight"
    if path[2] == "experts":
        return f"model.layers.{path[1]}.{_LAYER_STEMS[str(path[4])].replace('mlp.', f'mlp.experts.{path[3]}.')}.{suffix}"
    return f"model.layers.{path[1]}.{_LAYER_STEMS[str(path[2])]}.{suffix}"


class HuggingFaceDirectory:
    """An open model directory; tensors are read one at a time, on request."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: dict[Path, Any] = {}

    @functools.cached_property
    def _file_of(self) -> dict[str, Path]:
        # Looked for when they are asked for: what the model is, config.json alone says.
        return _tensor_files(self.directory)

    def __str__(self) -> str:
        return str(self.directory)

    def model_config(self) -> ModelConfig:
        """The decoder this directory describes; generation_config.json adds its end-of-sequence ids."""
        path = self.directory / "config.json"
        config = model_config.from_huggingface(read_json(path), where=str(path))
        generation = self.directory / "generation_config.json"
        if not generation.exists():
            return config
        return model_config.with_eos(config, model_config.token_ids(read_json(generation).get("eos_token_id")))

    def tokenizer(self, config: ModelConfig) -> Tokenizer:
        """The tokenizer beside the weights."""
        return read_tokenizer(self.directory, config.eos_token_ids)

    def where(self, path: Sequence[str | int]) -> str:
        """File and tensor of the parameter at `path`, for error messages."""
        name = tensor_name(path)
        return f"{self._file_of.get(name, self.directory)}: tensor {name}"

    def parameter(self, path: Sequence[str | int], config: ModelConfig) -> np.ndarray:
        """The parameter at `path` of the decoder's state, in the decoder's layout and the file's dtype."""
        del config  # unlike GGUF, one layout for all families
        name = tensor_name(path)
        if name not in self._file_of:
            raise PolicyError(f"{self.where(path)} is missing")
        file = self._opened(self._file_of[name])
        dtype = file.get_slice(name).get_dtype()
        if dtype not in _READABLE_DTYPES:
            raise PolicyError(f"{self.where(path)} is stored as {dtype}; readable are {', '.join(_READABLE_DTYPES)}")
        array = file.get_tensor(name)
        return array.T if path[-1] == "weight" else array

    def unexpected(self, paths: Iterable[Sequence[str | int]]) -> list[str]:
        """Tensors that no parameter at `paths` reads, sorted."""
        # Old exports store RoPE's frequencies, and a tied head a second time.
        harmless = {"lm_head.weight"}
        expected = {tensor_name(path) for path in paths} | harmless
        return sorted(n for n in self._file_of if n not in expected and not n.endswith(".rotary_emb.inv_freq"))

    def _opened(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = _open_safetensors(path)
        return self._open[path]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a model directory."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise PolicyError(f"{path} is missing; is this a complete Hugging Face model directory?") from error
    except (OSError, ValueError) as error:
        raise PolicyError(f"{path} can't be read: {error}") from error
    if not isinstance(value, dict):
        raise PolicyError(f"{path} holds no JSON object")
    return value


def _open_safetensors(path: Path) -> Any:
    try:
        return safetensors.safe_open(str(path), framework="numpy")
    except FileNotFoundError as error:
        raise PolicyError(f"{path} is missing; is this a complete Hugging Face model directory?") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise PolicyError(f"{path} is damaged or cut short ({error}); download it again") from error


def _tensor_files(directory: Path) -> dict[str, Path]:
    """Tensor name -> the file that holds it."""
    index, single = directory / "model.safetensors.index.json", directory / "model.safetensors"
    if index.exists():
        weight_map = read_json(index).get("weight_map") or {}
        files = {name: directory / file for name, file in weight_map.items()}
        for path in sorted(set(files.values())):
            stored = set(_open_safetensors(path).keys())
            absent = sorted(name for name, file in files.items() if file == path and name not in stored)
            if absent:
                raise PolicyError(f"{path}: tensor {absent[0]} is missing, though {index.name} says that it is there")
        return files
    if single.exists():
        return dict.fromkeys(_open_safetensors(single).keys(), single)
    pickled = sorted(directory.glob("*.bin")) + sorted(directory.glob("*.pt"))
    hint = f"; {pickled[0].name} is pickled, convert it to safetensors" if pickled else ""
    raise PolicyError(f"{directory}: no model.safetensors and no model.safetensors.index.json{hint}")


def read_tokenizer(directory: Path, eos_token_ids: Sequence[int]) -> Tokenizer:
    """The tokenizer of a model directory; a chat_template.jinja beside it wins over the one in its config."""
    path = directory / "tokenizer.json"
    if not path.exists():
        raise PolicyError(f"{path} is missing; save the tokenizer with transformers' fast tokenizer first")
    try:
        backend = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for any malformed file
        raise PolicyError(f"{path} can't be read: {error}") from error
    settings_path, template_path = directory / "tokenizer_config.json", directory / "chat_template.jinja"
    settings = read_json(settings_path) if settings_path.exists() else {}
    if template_path.exists():
        settings["chat_template"] = template_path.read_text(encoding="utf-8")
    return Tokenizer(backend, settings, eos_token_ids=eos_token_ids)

"""`load_policy`: a Hugging Face directory or a GGUF file to a decoder with weights and its tokenizer, every tensor checked.

A tensor that is missing, unexpected or of another shape is a `PolicyError` naming file and tensor: weights are never
silently left random. Left out: downloading, quantised compute, checkpoints of a run (`evo_jax.checkpoint`).
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from evo_jax.policy.decoder import Decoder, abstract_decoder, flat_parameters
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.gguf import GgufFile
from evo_jax.policy.huggingface import HuggingFaceDirectory
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer

_DTYPES = {"float32": jnp.dtype(jnp.float32), "bfloat16": jnp.dtype(jnp.bfloat16)}
# (path in the decoder's state, value on the host) -> value where it shall live
Place = Callable[[Sequence[str | int], np.ndarray], Array]


@dataclasses.dataclass(frozen=True)
class Policy:
    """A loaded policy. `decoder` holds parameters; `tokenizer` belongs to exactly this vocabulary."""

    model_config: ModelConfig
    decoder: Decoder
    tokenizer: Tokenizer


def load_policy(
    path: str | Path, *, param_dtype: str = "float32", compute_dtype: str = "auto", place: Place | None = None
) -> Policy:
    """Load the policy at `path`, a Hugging Face directory or a .gguf file.

    `place` puts each parameter on its devices (sharded loading); by default the first device. Raises PolicyError for a
    path, file, tensor or dtype that can't be used.
    """
    path = Path(path)
    dtype, compute = resolve_dtype(param_dtype), resolve_dtype(compute_dtype)
    source = _open(path)
    config = source.model_config()
    tokenizer = source.tokenizer(config)
    if tokenizer.vocab_size > config.vocab_size:
        raise PolicyError(
            f"{path}: the tokenizer knows {tokenizer.vocab_size} tokens, the model {config.vocab_size}; "
            "these files don't belong together"
        )
    decoder = _fill(source, abstract_decoder(config, param_dtype=dtype, compute_dtype=compute), place)
    return Policy(config, decoder, tokenizer)


def read_model_config(path: str | Path) -> ModelConfig:
    """What the model at `path` is, without reading its weights. Raises PolicyError like `load_policy`."""
    return _open(Path(path)).model_config()


def weights_sha256(path: str | Path) -> str:
    """One hash of all weights at `path`: of the GGUF file, or of a directory's safetensors files, names and bytes."""
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        whole.update(f"{file.name if path.is_dir() else ''} {digest}\n".encode())
    return whole.hexdigest()


class _Source(Protocol):
    """What the readers of both file formats offer."""

    def model_config(self) -> ModelConfig: ...

    def tokenizer(self, config: ModelConfig) -> Tokenizer: ...

    def where(self, path: Sequence[str | int]) -> str: ...

    def parameter(self, path: Sequence[str | int], config: ModelConfig) -> np.ndarray: ...

    def unexpected(self, paths: Iterable[Sequence[str | int]]) -> list[str]: ...


def _open(path: Path) -> _Source:
    if path.is_dir():
        return HuggingFaceDirectory(path)
    if not path.exists():
        raise PolicyError(f"{path}: no such file or directory; point the model path at an existing model")
    if path.suffix != ".gguf":
        raise PolicyError(f"{path}: neither a Hugging Face directory nor a .gguf file")
    return GgufFile(path)


def resolve_dtype(name: str) -> jnp.dtype:
    """'float32', 'bfloat16', or 'auto': bfloat16 where the hardware multiplies it fast, else float32."""
    if name == "auto":
        fast = jax.default_backend() in ("gpu", "tpu") or cpu_multiplies_bfloat16()
        return _DTYPES["bfloat16" if fast else "float32"]
    if name not in _DTYPES:
        raise PolicyError(f"dtype {name!r} is not one of auto, {', '.join(_DTYPES)}")
    return _DTYPES[name]


def cpu_multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU has bfloat16 matrix instructions; without them bfloat16 is slower than float32."""
    if not cpuinfo.is_file():
        return False
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return not {"amx_bf16", "avx512_bf16", "bf16"}.isdisjoint(line.split())
    return False


def _fill(source: _Source, decoder: Decoder, place: Place | None) -> Decoder:
    """`decoder` with every parameter read, one at a time, so that the file is never in memory twice."""
    graph, abstract = nnx.split(decoder)
    parameters = flat_parameters(abstract)
    unexpected = source.unexpected(path for path, _ in parameters)
    if unexpected:
        some = ", ".join(unexpected[:3])
        raise PolicyError(f"{source}: {len(unexpected)} tensors that a {decoder.config.family} has no use for: {some}")
    filled = []
    for path, variable in parameters:
        value = source.parameter(path, decoder.config)
        if value.shape != variable.shape:
            raise PolicyError(
                f"{source.where(path)} has shape {_stored_shape(path, value.shape)}, "
                f"the config asks for {_stored_shape(path, variable.shape)}"
            )
        value = value.astype(variable.dtype)
        filled.append((path, variable.replace(jnp.array(value) if place is None else place(path, value))))
    return nnx.merge(graph, nnx.from_flat_state(filled))


def _stored_shape(path: Sequence[str | int], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as the file has it: products are stored [out, in]."""
    return shape[::-1] if path[-1] == "weight" else shape

"""Writing a policy as a Hugging Face directory that transformers and inference servers load.

Tensors are streamed one at a time, and the directory appears under its name only when it is complete. Where several processes
hold the parameters together, one of them writes and the others help it (`help_saving`). Left out: reading it back
(`huggingface`), checking it against a second implementation (`evo_jax.export`), pushing it anywhere.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from evo_jax.policy.decoder import flat_parameters
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.huggingface import tensor_name
from evo_jax.policy.model_config import ModelConfig, eos_field, to_huggingface
from evo_jax.policy.tokenizer import Tokenizer

_DTYPE_NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
_MAX_SHARD_BYTES = 5 * 10**9


@dataclasses.dataclass(frozen=True)
class _Entry:
    """One tensor to write; `shape` as stored. Products are stored [out, in], the decoder holds them [in, out]."""

    name: str
    shape: tuple[int, ...]
    transposed: bool
    variable: nnx.Variable

    def as_stored(self, dtype: str) -> jax.Array:
        """The value as it lies in the file, on its way: nothing waits for it yet.

        One that lies on devices of several processes becomes whole on each, which all of them must ask for.
        """
        value = self.variable[...]
        if value.is_fully_addressable:
            return _as_stored(value, dtype, self.transposed)
        assert isinstance(value.sharding, NamedSharding), "parameters of several processes lie on a mesh"
        return _whole_as_stored(value.sharding.mesh)(value, dtype=dtype, transposed=self.transposed)


@partial(jax.jit, static_argnames=("dtype", "transposed"))
def _as_stored(value: jax.Array, dtype: str, transposed: bool) -> jax.Array:
    return (value.T if transposed else value).astype(dtype)


@cache
def _whole_as_stored(mesh: Mesh) -> Callable[..., jax.Array]:
    """`_as_stored` whose result is whole on every device of `mesh`."""
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.jit(_as_stored, static_argnames=("dtype", "transposed"), out_shardings=everywhere)


def save_huggingface(
    directory: str | Path,
    config: ModelConfig,
    params: nnx.State,
    tokenizer: Tokenizer,
    *,
    dtype: str = "",
    max_shard_bytes: int = _MAX_SHARD_BYTES,
) -> None:
    """Write config, weights and tokenizer into the new directory `directory`.

    `params` is the decoder's state (`nnx.state(decoder)`), stored as `dtype` ('float32', 'bfloat16', 'float16'; '' keeps
    the parameters' own). Raises PolicyError when the directory exists already and is not empty, or can't be written; then
    nothing is left behind.
    """
    directory = Path(directory)
    entries, dtype = _entries(params, dtype)
    with new_directory(directory) as scratch:
        write_json(scratch / "config.json", to_huggingface(config, dtype=dtype))
        write_json(scratch / "generation_config.json", _generation_config(config, tokenizer))
        tokenizer.save(scratch)
        _write_weights(scratch, entries, dtype, max_shard_bytes)


def help_saving(params: nnx.State, *, dtype: str = "") -> None:
    """What the other processes do where one is in `save_huggingface`, and `params` lie on devices of all of them.

    Tensor by tensor they take part in making it whole, and drop it; `params` and `dtype` must be the same everywhere.
    """
    deque(_stored_values(*_entries(params, dtype)), maxlen=0)


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """A scratch directory to write into, which becomes `directory` at the end of the block, or vanishes if that fails.

    Raises PolicyError when `directory` exists already and is not empty, or can't be written.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise PolicyError(f"{directory} exists already; choose a new directory, nothing is overwritten")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
        try:
            yield scratch
            scratch.chmod(0o755)  # mkdtemp's 0o700 would keep a server of another user out
            os.replace(scratch, directory)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise PolicyError(f"{directory} can't be written: {error}") from error


def _entries(params: nnx.State, dtype: str) -> tuple[list[_Entry], str]:
    """The tensors in the order they are written in, and the dtype. Raises PolicyError for an unknown one."""
    entries = [_entry(path, variable) for path, variable in flat_parameters(params)]
    dtype = dtype or str(np.dtype(entries[0].variable.dtype))
    if dtype not in _DTYPE_NAMES:
        raise PolicyError(f"weights can't be stored as {dtype!r}; known: {', '.join(_DTYPE_NAMES)}")
    return entries, dtype


def _stored_values(entries: Sequence[_Entry], dtype: str) -> Iterator[np.ndarray]:
    """Each tensor as it lies in the file.

    It is cast and turned where it lies, by all cores, so that half as much leaves an accelerator; the next one is already on
    its way while a caller is busy with it.
    """
    coming = entries[0].as_stored(dtype) if entries else None
    for following in [*entries[1:], None]:
        value, coming = coming, following.as_stored(dtype) if following else None
        yield np.asarray(value)


def _entry(path: Sequence[str | int], variable: nnx.Variable) -> _Entry:
    shape, transposed = tuple(variable.shape), path[-1] == "weight"
    return _Entry(tensor_name(path), shape[::-1] if transposed else shape, transposed, variable)


def _generation_config(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    written: dict[str, Any] = {"eos_token_id": eos_field(tokenizer.eos_token_ids or config.eos_token_ids)}
    written |= {"pad_token_id": tokenizer.pad_token_id, "do_sample": False}
    if config.bos_token_id >= 0:
        written["bos_token_id"] = config.bos_token_id
    return written


def write_json(path: Path, value: dict[str, Any]) -> None:
    """A JSON file as model directories have them."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_weights(directory: Path, entries: list[_Entry], dtype: str, max_shard_bytes: int) -> None:
    """One model.safetensors, or numbered shards and their index when it would grow beyond `max_shard_bytes`."""
    shards, values = _split(entries, np.dtype(dtype).itemsize, max_shard_bytes), _stored_values(entries, dtype)
    if len(shards) == 1:
        _write_safetensors(directory / "model.safetensors", shards[0], values, dtype)
        return
    weight_map: dict[str, str] = {}
    total = 0
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        total += _write_safetensors(directory / name, shard, values, dtype)
        weight_map |= {entry.name: name for entry in shard}
    write_json(directory / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _split(entries: list[_Entry], itemsize: int, max_shard_bytes: int) -> list[list[_Entry]]:
    shards: list[list[_Entry]] = [[]]
    filled = 0
    for entry in entries:
        size = int(np.prod(entry.shape)) * itemsize
        if shards[-1] and filled + size > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(entry)
        filled += size
    return shards


def _write_safetensors(path: Path, entries: list[_Entry], values: Iterator[np.ndarray], dtype: str) -> int:
    """Write one file tensor by tensor, the next of `values` (the library's writer wants all of them in memory); returns its
    data bytes.

    The format: a little-endian u64 header length, a JSON header padded with spaces to 8 bytes, the data.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for entry in entries:
        end = offset + int(np.prod(entry.shape)) * np.dtype(dtype).itemsize
        header[entry.name] = {"dtype": _DTYPE_NAMES[dtype], "shape": entry.shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _ in entries:
            file.write(np.ascontiguousarray(next(values)).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
    return offset

"""The GGUF container: metadata and where each tensor lies, read in one pass over the header.

The `gguf` package's reader takes seconds for a vocabulary of 50,000 tokens because it makes a memory-mapped array of every
string; the format (version 2 and 3, little-endian) is small enough to read directly. Dequantising stays that package's.
"""

import dataclasses
import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from evo_jax.policy.errors import PolicyError

_STRING, _ARRAY = 8, 9
# Value type of the specification -> struct format
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_DEFAULT_ALIGNMENT = 32


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """One tensor: `shape` in numpy's order (GGUF lists the fastest axis first), `offset` in bytes from the file's start."""

    name: str
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    offset: int
    byte_shape: tuple[int, ...]


class GgufContainer:
    """A GGUF file's metadata and tensors; values are read and dequantised on request."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._bytes = np.memmap(path, mode="r")
            cursor = _Cursor(memoryview(self._bytes))
            self.metadata, self.tensors = _read_header(cursor)
        except (OSError, ValueError, struct.error) as error:
            raise PolicyError(f"{path}: not a readable GGUF file ({error}); download it again") from error
        for tensor in self.tensors.values():
            if tensor.offset + int(np.prod(tensor.byte_shape)) > self._bytes.size:
                raise PolicyError(f"{path}: the file ends before tensor {tensor.name}; download it again")

    def read(self, name: str) -> np.ndarray:
        """The values of a tensor, float32."""
        tensor = self.tensors[name]
        end = tensor.offset + int(np.prod(tensor.byte_shape))
        stored = np.asarray(self._bytes[tensor.offset : end]).reshape(tensor.byte_shape)
        return gguf.dequantize(stored, tensor.kind).astype(np.float32, copy=False).reshape(tensor.shape)


class _Cursor:
    """Reads little-endian values one after another."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.offset = 0

    def scalar(self, code: str) -> Any:
        value = struct.unpack_from("<" + code, self.data, self.offset)[0]
        self.offset += struct.calcsize("<" + code)
        return value

    def string(self) -> str:
        length = self.scalar("Q")
        start, self.offset = self.offset, self.offset + length
        if self.offset > len(self.data):
            raise ValueError("a string runs past the end")
        return str(self.data[start : self.offset], "utf-8", errors="replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            inner, count = self.scalar("I"), self.scalar("Q")
            if count > len(self.data):
                raise ValueError("an array is longer than the file")
            if inner in _SCALARS:
                values = struct.unpack_from(f"<{count}{_SCALARS[inner]}", self.data, self.offset)
                self.offset += struct.calcsize(f"<{count}{_SCALARS[inner]}")
                return list(values)
            return [self.value(inner) for _ in range(count)]
        if kind not in _SCALARS:
            raise ValueError(f"unknown value type {kind}")
        return self.scalar(_SCALARS[kind])


def _read_header(cursor: _Cursor) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    if bytes(cursor.data[:4]) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    cursor.offset = 4
    version = cursor.scalar("I")
    if version not in (2, 3):
        raise ValueError(f"version {version} is not 2 or 3")
    tensor_count, value_count = cursor.scalar("Q"), cursor.scalar("Q")
    metadata = {}
    for _ in range(value_count):
        key = cursor.string()
        metadata[key] = cursor.value(cursor.scalar("I"))
    listed = []
    for _ in range(tensor_count):
        name, axes = cursor.string(), cursor.scalar("I")
        sizes = [cursor.scalar("Q") for _ in range(axes)]
        listed.append((name, tuple(reversed(sizes)), cursor.scalar("I"), cursor.scalar("Q")))
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    start = -(-cursor.offset // alignment) * alignment
    tensors = {}
    for name, shape, code, offset in listed:
        kind = gguf.GGMLQuantizationType(code)
        byte_shape = gguf.quant_shape_to_byte_shape(shape, kind)
        tensors[name] = StoredTensor(name, shape, kind, start + offset, byte_shape)
    return metadata, tensors

"""Giving one SGLang server a published version, and making sure that it has it: pause, load, compare, go on.

SGLang skips tensors whose names it does not know and says nothing, and a load that failed leaves the server between two
versions: so the version is read back, and names and values are compared with what was published, as far as SGLang shows
them. A server that fails here is
poisoned, and its owner (`sglang_fleet.py`) must not ask it again before it was started anew. Left out: writing the version
(`weight_transport.py`); values of a server that shards its tensors, unless its model can show them (docs/sglang.md).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from evo_jax.rollouts.protocol import RolloutError
from evo_jax.rollouts.sglang_client import ServerClient, ServerError, ServerRefused
from evo_jax.rollouts.sglang_wire import WrongWeights
from evo_jax.rollouts.weight_transport import PublishedWeights, StoredTensor

logger = logging.getLogger(__name__)

PROBE_ROWS = 2
VOCABULARY_PADDING = 64
SHORT_CALL_S = 60.0
SERVER_DTYPES = {name: np.dtype(getattr(jnp, name)) for name in ("float32", "bfloat16", "float16")}
# SGLang keeps these products as one tensor, rows in this order.
FUSED = {
    ".self_attn.qkv_proj.": (".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."),
    ".mlp.gate_up_proj.": (".mlp.gate_proj.", ".mlp.up_proj."),
}
PADDED = ("model.embed_tokens.weight", "lm_head.weight")


class CannotCompare(RolloutError):
    """A server is sound for all that is known and shows nothing to compare: trying again will not help."""


def load_weights(client: ServerClient, weights: PublishedWeights, *, pause_mode: str, timeout_s: float) -> None:
    """Makes the server sample from `weights` and from nothing older: caches of the old weights go too.

    Raises ServerError when the server did not load them, WrongWeights when it says that it has others.
    """
    client.call("/pause_generation", {"mode": pause_mode}, timeout_s=SHORT_CALL_S)
    try:
        body = {"model_path": weights.model_path, "weight_version": weights.label, "flush_cache": True}
        answer = client.call_object("/update_weights_from_disk", body, timeout_s=timeout_s)
        if answer.get("success") is not True:
            raise ServerError(f"{client.url}: the weights in {weights.model_path} were not loaded: {answer!r}")
    finally:
        # A server that failed is left poisoned but not paused: whoever looks at it next must get answers.
        with contextlib.suppress(ServerError):
            client.call("/continue_generation", {}, timeout_s=SHORT_CALL_S)
    check_version(client, weights)


def check_version(client: ServerClient, weights: PublishedWeights) -> None:
    """Raises WrongWeights unless the server says that it samples from `weights`."""
    found = client.call_object("/model_info", timeout_s=SHORT_CALL_S).get("weight_version")
    if found != weights.label:
        raise WrongWeights(f"{client.url}: has weight version {found}, was given {weights.label}")


def check_values(client: ServerClient, weights: PublishedWeights) -> None:
    """Compares what the server holds with what was published, by name and by value.

    A server on one CPU shows checksums of all it has: every byte is compared. Elsewhere the first rows of every tensor are, if
    SGLang can show weights of the model (llama), and the names alone if it can't, with a warning. Raises WrongWeights for the
    first difference, CannotCompare for a server that shows nothing at all.
    """
    info = client.call_object("/server_info", timeout_s=SHORT_CALL_S)
    dtype = SERVER_DTYPES.get(str(info.get("dtype")))
    if info.get("device") == "cpu" and info.get("tp_size") == 1 and dtype is not None:
        compare_checksums(client, weights, dtype)
    elif _shows_values(client):
        compare_first_rows(client, weights, dtype)
    else:
        logger.warning("%s shows no values of this model: names of its weights are compared, values are not", client.url)
        compare_names(client, weights)


def compare_checksums(client: ServerClient, weights: PublishedWeights, dtype: np.dtype) -> None:
    """Raises WrongWeights unless the server, which computes in `dtype` on one CPU, holds exactly the published bytes."""
    found, expected = compare_names(client, weights), server_tensors(weights.tensors)
    for name, parts in expected.items():
        if found[name] != _checksum(name, parts, dtype):
            raise WrongWeights(f"{client.url}: the values of {name} are not those of version {weights.label}")


def compare_names(client: ServerClient, weights: PublishedWeights) -> Mapping[str, str]:
    """The server's checksums by tensor. Raises WrongWeights unless its tensors are those that the published ones make up."""
    try:
        answer = client.call_object("/weights_checker", {"action": "checksum"}, timeout_s=SHORT_CALL_S)
        found: dict[str, str] = dict(answer["ranks"][0]["checksums"])
    except (ServerRefused, KeyError, IndexError, TypeError, ValueError) as error:
        raise CannotCompare(
            f"{client.url}: shows neither values nor names of its weights ({error}). Use SGLang 0.5.23 or newer, or set "
            "sglang.check_weights='off' to rely on the version alone"
        ) from error
    expected = server_tensors(weights.tensors)
    # A tied head is the embedding, and shown once or twice.
    names = found.keys() - ({"lm_head.weight"} - expected.keys())
    if names != expected.keys():
        missing, extra = sorted(expected.keys() - names), sorted(names - expected.keys())
        raise WrongWeights(f"{client.url}: not the policy's tensors (missing: {missing[:3]}, unknown: {extra[:3]})")
    return found


def server_tensors(tensors: Mapping[str, StoredTensor]) -> dict[str, list[StoredTensor]]:
    """The tensors that SGLang makes of `tensors`, by its names: the parts of each, in order."""
    found: dict[str, dict[int, StoredTensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        fused, place = name, 0
        for whole, parts in FUSED.items():
            for index, part in enumerate(parts):
                if part in name:
                    fused, place = name.replace(part, whole), index
        found[fused][place] = tensor
    return {name: [parts[place] for place in sorted(parts)] for name, parts in found.items()}


def _checksum(name: str, parts: list[StoredTensor], dtype: np.dtype) -> str:
    """SGLang's checksum of a tensor on a CPU: the first 64 bits of the SHA-256 of its bytes."""
    digest = hashlib.sha256()
    rows = sum(part.shape[0] for part in parts)
    for part in parts:
        digest.update(np.ascontiguousarray(part.read().astype(dtype)).view(np.uint8).data)
    if name in PADDED and rows % VOCABULARY_PADDING:
        shape = (-rows % VOCABULARY_PADDING, *parts[0].shape[1:])
        digest.update(np.zeros(shape, dtype).view(np.uint8).data)
    return digest.digest()[:8].hex()


def compare_first_rows(client: ServerClient, weights: PublishedWeights, dtype: np.dtype | None) -> None:
    """Raises WrongWeights unless the server knows every published tensor and shows the same first rows of it."""
    for name, tensor in weights.tensors.items():
        try:
            found = _first_rows(client, name)
        except ServerRefused as error:
            raise WrongWeights(f"{client.url}: does not know the tensor {name} of version {weights.label} ({error})") from error
        expected = tensor.read(PROBE_ROWS).astype(dtype or tensor.dtype).astype(np.float32)
        if found.shape != expected.shape or not np.array_equal(found, expected):
            raise WrongWeights(f"{client.url}: the values of {name} are not those of version {weights.label}")


def _first_rows(client: ServerClient, name: str) -> np.ndarray:
    answer = client.call("/get_weights_by_name", {"name": name, "truncate_size": PROBE_ROWS}, timeout_s=SHORT_CALL_S)
    try:
        return np.asarray(answer, np.float32)
    except (TypeError, ValueError) as error:
        raise ServerError(f"{client.url}: weights of {name} that can't be read: {str(answer)[:100]}") from error


def _shows_values(client: ServerClient) -> bool:
    try:
        _first_rows(client, PADDED[0])
    except ServerRefused:
        return False
    return True

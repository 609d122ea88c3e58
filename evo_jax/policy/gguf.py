"""A policy in one GGUF file: its config, parameters in the decoder's layout, tokenizer and chat template.

GGUF is llama.cpp's container. Left out: writing it, and vocabularies other than byte-level BPE (tokenizer model gpt2).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from evo_jax.policy import model_config
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.gguf_container import GgufContainer
from evo_jax.policy.model_config import ModelConfig
from evo_jax.policy.tokenizer import Tokenizer

# Our parameter's module -> stem of the tensor's name in a layer, blk.<i>.<stem>.weight
_LAYER_STEMS = {
    "attention_norm": "attn_norm",
    "query": "attn_q",
    "key": "attn_k",
    "value": "attn_v",
    "query_norm": "attn_q_norm",
    "key_norm": "attn_k_norm",
    "output": "attn_output",
    "mlp_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
_TOP_NAMES = {"embedding": "token_embd.weight", "head": "output.weight", "final_norm": "output_norm.weight"}
_CONTROL, _USER_DEFINED = 3, 4  # token types of the GGUF specification

# How qwen2 and llama 3 cut text into words; they differ in how many digits (%s) go together.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class GgufFile:
    """An open GGUF file; tensors are dequantised one at a time, on request."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._container = GgufContainer(path)
        self.metadata = self._container.metadata
        self._tensors = self._container.tensors
        if "rope_freqs.weight" in self._tensors:
            raise PolicyError(f"{path}: RoPE frequencies stored as a tensor are not supported; use the Hugging Face files")

    def __str__(self) -> str:
        return str(self.path)

    def model_config(self) -> ModelConfig:
        """The decoder this file describes."""
        tied = "output.weight" not in self._tensors
        return model_config.from_gguf(self.metadata, tied_embeddings=tied, where=str(self.path))

    def tokenizer(self, config: ModelConfig) -> Tokenizer:
        """The tokenizer in the file's metadata."""
        return read_tokenizer(self, config.eos_token_ids)

    def where(self, path: Sequence[str | int]) -> str:
        """File and tensor of the parameter at `path`, for error messages."""
        return f"{self.path}: tensor {tensor_name(path)}"

    def parameter(self, path: Sequence[str | int], config: ModelConfig) -> np.ndarray:
        """The parameter at `path` of the decoder's state, float32, in the decoder's layout."""
        name = tensor_name(path)
        if name not in self._tensors:
            raise PolicyError(f"{self.where(path)} is missing")
        array = self._container.read(name)
        path = tuple(path)
        if config.family == "llama" and path[-2:] in (("query", "weight"), ("key", "weight")):
            array = _unpermute(array, config.num_heads if path[-2] == "query" else config.num_kv_heads)
        return array.T if path[-1] == "weight" else array

    def unexpected(self, paths: Iterable[Sequence[str | int]]) -> list[str]:
        """Tensors that no parameter at `paths` reads, sorted."""
        return sorted(set(self._tensors) - {tensor_name(path) for path in paths})


def tensor_name(path: Sequence[str | int]) -> str:
    """GGUF's name of the parameter at `path` of the decoder's state."""
    if path[0] != "layers":
        return _TOP_NAMES[str(path[0])]
    suffix = "bias" if path[-1] == "bias" else "weight"
    return f"blk.{path[1]}.{_LAYER_STEMS[str(path[2])]}.{suffix}"


def _unpermute(array: np.ndarray, heads: int) -> np.ndarray:
    """Back to rotating a head's halves: llama GGUF files interleave the rows of q and k to rotate neighbours."""
    pairs = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)


def read_tokenizer(file: GgufFile, eos_token_ids: Sequence[int]) -> Tokenizer:
    """The tokenizer in the file's metadata, with its chat template."""
    metadata = file.metadata
    if metadata.get("tokenizer.ggml.model") != "gpt2":
        kind = metadata.get("tokenizer.ggml.model")
        raise PolicyError(f"{file.path}: tokenizer model {kind!r} is not supported, only byte-level BPE ('gpt2')")
    texts: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    kind = metadata.get("tokenizer.ggml.pre", "default")
    vocabulary = {text: index for index, text in enumerate(texts)}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges, ignore_merges=kind == "llama-bpe"))
    _set_pre_tokenizer(backend, kind, file.path)
    backend.decoder = decoders.ByteLevel()
    for token_type, special in ((_CONTROL, True), (_USER_DEFINED, False)):
        types = metadata["tokenizer.ggml.token_type"]
        chosen = [text for text, t in zip(texts, types, strict=True) if t == token_type]
        added = [AddedToken(text, normalized=False, special=special) for text in chosen]
        (backend.add_special_tokens if special else backend.add_tokens)(added)
    settings = _settings(metadata, texts)
    if metadata.get("tokenizer.ggml.add_bos_token") and "bos_token" in settings:
        bos = settings["bos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocabulary[bos])]
        )
    return Tokenizer(backend, settings, eos_token_ids=eos_token_ids)


def _set_pre_tokenizer(backend: tokenizers.Tokenizer, kind: str, path: Path) -> None:
    """How text is cut into words before merging; GGUF names it but does not spell it out."""
    plain_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if kind == "smollm":
        words = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), words])
    elif kind in ("qwen2", "llama-bpe"):
        pattern = Regex(_WORDS % ("" if kind == "qwen2" else "{1,3}"))
        split = pre_tokenizers.Split(pattern, behavior="isolated")
        backend.pre_tokenizer = pre_tokenizers.Sequence([split, plain_bytes])
        if kind == "qwen2":
            backend.normalizer = normalizers.NFC()
    else:
        raise PolicyError(f"{path}: pre-tokenizer {kind!r} is not supported; known: smollm, qwen2, llama-bpe")


def _settings(metadata: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """What a tokenizer_config.json would say of this tokenizer."""
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    architecture = metadata.get("general.architecture")
    if f"{architecture}.context_length" in metadata:
        settings["model_max_length"] = metadata[f"{architecture}.context_length"]
    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    for ours, theirs in names.items():
        index = metadata.get(f"tokenizer.ggml.{theirs}_token_id")
        if index is not None:
            settings[ours] = texts[index]
    if metadata.get("tokenizer.chat_template"):
        settings["chat_template"] = metadata["tokenizer.chat_template"]
    return settings

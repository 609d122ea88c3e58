"""GGUF files written by the `gguf` package itself, from tiny random decoders, and read back."""

import json
from pathlib import Path

import gguf
import jax
import numpy as np
import pytest
from flax import nnx

from evo_jax.policy.decoder import flat_parameters, random_decoder
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.gguf import tensor_name
from evo_jax.policy.gguf_container import GgufContainer
from evo_jax.policy.loading import load_policy
from evo_jax.policy.model_config import ModelConfig

TOKENIZER = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "policy" / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8")
)
CONFIGS = {
    "llama": ModelConfig("llama", 300, 2, 16, 24, 4, 2, 4, rms_eps=1e-5, tied_embeddings=True, eos_token_ids=(2,)),
    "qwen2": ModelConfig("qwen2", 300, 1, 16, 24, 4, 2, 4, rms_eps=1e-5, attention_bias=True, eos_token_ids=(2,)),
    "qwen3": ModelConfig("qwen3", 300, 1, 16, 24, 4, 2, 8, rms_eps=1e-5, qk_norm=True, eos_token_ids=(2,)),
}


def permuted(weight, heads):
    """How llama.cpp's converter stores q and k of llama: the rows of each head's two halves in turns."""
    rows = weight.shape[0] // heads
    order = [head * rows + half * (rows // 2) + i for head in range(heads) for i in range(rows // 2) for half in (0, 1)]
    return weight[order]


def write_gguf(path, config, decoder, *, pre="smollm", leave_out=(), model="gpt2"):
    writer = gguf.GGUFWriter(str(path), config.family)
    writer.add_block_count(config.num_layers)
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.width)
    writer.add_feed_forward_length(config.ffn_width)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_size)
    writer.add_layer_norm_rms_eps(config.rms_eps)
    writer.add_rope_freq_base(config.rope_theta)
    vocabulary = sorted(TOKENIZER["model"]["vocab"], key=TOKENIZER["model"]["vocab"].get)
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary)
    writer.add_token_merges([" ".join(merge) for merge in TOKENIZER["model"]["merges"]])
    writer.add_token_types([3, 3, 3, 4] + [1] * 296)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{{ messages[0].content }}")
    for parameter, variable in flat_parameters(nnx.state(decoder)):
        value = np.asarray(variable[...])
        value = np.ascontiguousarray(value.T if parameter[-1] == "weight" else value)
        if config.family == "llama" and parameter[-2:] in (("query", "weight"), ("key", "weight")):
            value = permuted(value, config.num_heads if parameter[-2] == "query" else config.num_kv_heads)
        if tensor_name(parameter) not in leave_out:
            writer.add_tensor(tensor_name(parameter), value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("family", CONFIGS)
def test_parameters_and_config_come_back(family, tmp_path):
    config = CONFIGS[family]
    decoder = random_decoder(config, jax.random.key(0))
    write_gguf(tmp_path / "m.gguf", config, decoder)
    policy = load_policy(tmp_path / "m.gguf")
    assert policy.model_config == config
    for a, b in zip(jax.tree.leaves(decoder), jax.tree.leaves(policy.decoder), strict=True):
        np.testing.assert_array_equal(a, b)


def test_tokenizer_in_the_file(tmp_path):
    config = CONFIGS["qwen2"]
    write_gguf(tmp_path / "m.gguf", config, random_decoder(config, jax.random.key(0)))
    tokenizer = load_policy(tmp_path / "m.gguf").tokenizer
    assert tokenizer.eos_token_ids == (2,)
    assert tokenizer.encode("</s>") == [2]
    assert tokenizer.decode([2, 3]) == "<end>"  # user-defined tokens are text, control tokens are not
    assert tokenizer.chat_text([{"role": "user", "content": "as it is"}]) == "as it is"
    ids = tokenizer.encode("What is 17?")
    assert tokenizer.decode(ids) == "What is 17?"
    assert len(tokenizer.encode("1234")) == 4


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("smollm", "a 123 b", ["a", "Ġ", "1", "2", "3", "Ġb"]),
        ("qwen2", "a 123 b", ["a", "Ġ", "1", "2", "3", "Ġb"]),
        ("qwen2", "x=12\n\ny", ["x", "=", "1", "2", "ĊĊ", "y"]),
        ("llama-bpe", "I'LL 1234", ["I", "'LL", "Ġ", "123", "4"]),
    ],
)
def test_how_each_pre_tokenizer_cuts_text(pre, text, pieces, tmp_path):
    config = CONFIGS["qwen2"]
    write_gguf(tmp_path / "m.gguf", config, random_decoder(config, jax.random.key(0)), pre=pre)
    backend = load_policy(tmp_path / "m.gguf").tokenizer._backend
    assert [piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)] == pieces


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16", "BF16"])
def test_container_dequantises_as_the_package_does(kind, tmp_path):
    kind = gguf.GGMLQuantizationType[kind]
    value = np.random.default_rng(0).standard_normal((6, 64)).astype(np.float32)
    stored = gguf.quantize(value, kind)
    writer = gguf.GGUFWriter(str(tmp_path / "m.gguf"), "llama")
    writer.add_array("numbers", [1, 2, 3])
    writer.add_string("text", "日本")
    writer.add_float64("double", 0.1)
    writer.add_bool("flag", True)
    writer.add_tensor("odd", np.ones(3, np.float32))  # leaves the next one to be aligned
    writer.add_tensor("t", stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    container = GgufContainer(tmp_path / "m.gguf")
    assert {k: container.metadata[k] for k in ("numbers", "text", "double", "flag")} == {
        "numbers": [1, 2, 3],
        "text": "日本",
        "double": 0.1,
        "flag": True,
    }
    np.testing.assert_array_equal(container.read("t"), gguf.dequantize(stored, kind).astype(np.float32))
    np.testing.assert_allclose(container.read("t"), value, atol=0.3)


class TestBadFiles:
    def expect(self, path, *words):
        with pytest.raises(PolicyError) as caught:
            load_policy(path)
        for word in words:
            assert word in str(caught.value)

    def written(self, tmp_path, **options):
        config = CONFIGS["qwen3"]
        write_gguf(tmp_path / "m.gguf", config, random_decoder(config, jax.random.key(0)), **options)
        return tmp_path / "m.gguf"

    def test_missing_tensor(self, tmp_path):
        self.expect(self.written(tmp_path, leave_out=("blk.0.ffn_up.weight",)), "m.gguf", "blk.0.ffn_up.weight")

    def test_cut_short(self, tmp_path):
        path = self.written(tmp_path)
        whole = path.read_bytes()
        path.write_bytes(whole[:-5000])
        self.expect(path, "m.gguf", "ends before tensor")
        path.write_bytes(whole[:3000])
        self.expect(path, "m.gguf", "not a readable GGUF file")

    @pytest.mark.parametrize("content", [b"", b"nonsense, long enough to be read as a header", b"GGUF\x09\0\0\0" + b"\0" * 16])
    def test_not_gguf(self, content, tmp_path):
        path = tmp_path / "m.gguf"
        path.write_bytes(content)
        self.expect(path, "m.gguf", "not a readable GGUF file")

    def test_unknown_tokenizers(self, tmp_path):
        self.expect(self.written(tmp_path, pre="tekken"), "tekken", "smollm")
        self.expect(self.written(tmp_path, model="llama"), "'llama'", "byte-level BPE")

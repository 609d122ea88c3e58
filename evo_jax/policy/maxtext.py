"""A policy computed by MaxText: its decoder, kernels and sharding, built to be what a `ModelConfig` says.

MaxText (an extra, requirements-maxtext.txt) is imported only when it is asked for: the import alone takes about ten seconds.
Parameters keep MaxText's names, layout and logical axes, and the table from those to mesh axes is MaxText's own, of which our
mesh is a part. Left out: sampling (the rollout engine has the plain decoder's parameters, see `maxtext_weights`), MaxText's
losses, data, checkpoints and LM head, and families that only it knows.
"""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PyTree

from evo_jax.config import ConfigError, PolicyConfig
from evo_jax.policy.errors import PolicyError
from evo_jax.policy.model_config import ModelConfig

# A llama is MaxText's qwen2 without biases. Its own llama block keeps the query product divided by sqrt(head size), which
# Adam would train at another pace than the same model anywhere else.
_BLOCKS = {"llama": "qwen2", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3_moe"}
_ATTENTION = {"xla": "dot_product", "splash": "flash"}
_REMATS = {"none": "none", "dots": "minimal", "full": "full"}
# The one llama3 scaling that MaxText knows: (factor, original positions, low and high frequency factor).
_LLAMA3 = (8.0, 8192, 1.0, 4.0)
# Axes of MaxText's that our mesh does not have, or seldom; the names of ours mean the same there.
_OTHER_AXES = (
    "diloco",
    "stage",
    "fsdp_transpose",
    "context_usp_ulysses",
    "context_autoregressive",
    "tensor_sequence",
    "expert",
    "autoregressive",
)
# Of a trainer that does not run here.
_QUIET: dict[str, Any] = {
    "run_name": "evoenv",
    "base_output_directory": "unused",
    "tokenizer_path": "unused",
    "log_config": False,
    "enable_checkpointing": False,
    "enable_dropout": False,
    "skip_jax_distributed_system": True,
    "jax_cache_dir": "",
    "context_parallel_load_balance": False,
}


class MaxTextDecoder(nnx.Module):
    """Token ids to final-norm hidden states, like `decoder.Decoder`, computed by MaxText's decoder.

    `nnx.Param` are the weights; what else it holds are random keys, which nothing here draws from.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(
        self, tokens: Int[Array, "B L"], positions: Int[Array, "B L"], segment_ids: Int[Array, "B L"]
    ) -> Float[Array, "B L D"]:
        """Hidden states after the final norm, in the compute dtype.

        A token sees those before it with the same segment id: each completion needs a copy of its prompt.
        """
        # Layers write their random keys' counters back: into a copy, because the caller may be differentiating.
        model = nnx.merge(*nnx.split(self.model), copy=True)
        with nn.logical_axis_rules(model.config.logical_axis_rules):
            _, hidden, *_ = model.decoder(
                shared_embedding=model.token_embedder,
                decoder_input_tokens=tokens,
                decoder_positions=positions,
                decoder_segment_ids=segment_ids,
                deterministic=True,
            )
            return model.decoder.decoder_norm(hidden)

    def head_weight(self) -> Float[Array, "V D"]:
        """The LM head's weight in the parameter dtype: the embedding itself where they are tied."""
        if self.model.config.logits_via_embedding:
            return self.model.token_embedder.embedding[...]
        return self.model.decoder.logits_dense.kernel[...].T


def abstract_maxtext(
    config: ModelConfig, chosen: PolicyConfig, *, attention: str, dtypes: tuple[str, str], mesh: Mesh
) -> MaxTextDecoder:
    """A decoder whose parameters are shapes and dtypes only; its random keys are real.

    `attention` is 'xla' or 'splash'; `dtypes` are those of parameters and of computing. MaxText lays everything on the devices
    of `mesh`. Raises PolicyError for a model that MaxText cannot compute exactly, ConfigError for an option it does not take.
    """
    library = maxtext_library()
    spread = _spread(mesh)
    platform = mesh.devices.flat[0].platform
    ours = {**_of_model(config, platform), **_of_policy(chosen, attention, dtypes)}
    ours |= {"hardware": platform, "mesh_axes": list(spread.axis_names)}
    settings = _settings(library, ours, chosen.maxtext_options)

    def build() -> MaxTextDecoder:
        return MaxTextDecoder(library.Transformer(settings, spread, quant=None, rngs=library.create_nnx_rngs(settings)))

    with nn.logical_axis_rules(settings.logical_axis_rules):
        graph, params, *others = nnx.split(nnx.eval_shape(build), nnx.Param, ...)
    return nnx.merge(graph, params, jax.tree.map(_zero, others[0]))


def maxtext_shardings(decoder: MaxTextDecoder, variables: nnx.State) -> PyTree:
    """A NamedSharding for every variable of a MaxText decoder, by MaxText's table; random keys are whole everywhere.

    Raises ConfigError naming the parameter where an axis cannot be cut evenly.
    """
    with nn.logical_axis_rules(decoder.model.config.logical_axis_rules):
        found = maxtext_library().nnx_construct_named_sharding(variables, decoder.model.mesh)
    for (path, variable), (_, lies) in zip(nnx.to_flat_state(variables), nnx.to_flat_state(found), strict=True):
        for size, axes in zip(variable.shape, lies.get_value().spec, strict=False):
            parts = math.prod(decoder.model.mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes or ()))
            if size % parts:
                raise ConfigError(
                    f"MaxText's parameter {'.'.join(map(str, path))}: an axis of {size} cannot be cut into {parts} equal parts "
                    f"(over {axes}); choose another mesh"
                )
    return found


def maxtext_library() -> SimpleNamespace:
    """What is used of MaxText. Raises PolicyError where it is not installed."""
    try:
        import maxtext.configs
        from maxtext.checkpoint_conversion.utils.param_mapping import HOOK_FNS, PARAM_MAPPING
        from maxtext.configs import pyconfig
        from maxtext.models.models import Transformer
        from maxtext.utils.maxtext_utils_nnx import create_nnx_rngs
        from maxtext.utils.sharding import nnx_construct_named_sharding
    except ImportError as error:
        raise PolicyError(
            f"policy.backend='maxtext' needs the extra packages of requirements-maxtext.txt ({error}): install them with "
            "pip install -r requirements.txt -r requirements-maxtext.txt, or leave policy.backend at 'native'"
        ) from error
    return SimpleNamespace(
        base_config=Path(maxtext.configs.__file__).parent / "base.yml",
        initialize=pyconfig.initialize,
        Transformer=Transformer,
        create_nnx_rngs=create_nnx_rngs,
        nnx_construct_named_sharding=nnx_construct_named_sharding,
        parameter_names=PARAM_MAPPING,
        parameter_changes=HOOK_FNS,
    )


def _settings(library: SimpleNamespace, ours: dict[str, Any], options: tuple[str, ...]) -> Any:
    """MaxText's own configuration: what the model and the run say, and the run's own options beside them."""
    for option in options:
        name, equals, _ = option.partition("=")
        if not equals or name in ours:
            what = "follows the model and the other settings of the run" if equals else "has no '='"
            raise ConfigError(f"policy.maxtext_options: {option!r} {what}; give settings of MaxText's as name=value")
    try:
        return library.initialize(["", str(library.base_config), *options], **ours, **_QUIET)
    except (SystemExit, Exception) as error:  # outside of pytest it logs the error and exits
        cause = error.__context__ if isinstance(error, SystemExit) else error
        raise ConfigError(f"MaxText refuses its settings (policy.maxtext_options={options!r}): {cause}") from error


def _of_model(config: ModelConfig, platform: str) -> dict[str, Any]:
    """MaxText's settings that make its decoder the one that `config` describes."""
    if not float(config.rope_theta).is_integer():
        raise PolicyError(f"MaxText takes whole RoPE bases only, and this model's is {config.rope_theta}")
    if config.attention_output_bias:
        raise PolicyError(f"MaxText has no {config.family} with a bias after attention: leave policy.backend at 'native'")
    return {
        "decoder_block": _BLOCKS[config.family],
        "base_emb_dim": config.width,
        "base_mlp_dim": config.ffn_width,
        "base_num_decoder_layers": config.num_layers,
        "base_num_query_heads": config.num_heads,
        "base_num_kv_heads": config.num_kv_heads,
        "head_dim": config.head_size,
        "vocab_size": config.vocab_size,
        "mlp_activations": ["silu", "linear"],
        "normalization_layer_epsilon": config.rms_eps,
        "use_qk_norm": config.qk_norm,
        "attention_bias": config.attention_bias,
        "logits_via_embedding": config.tied_embeddings,
        "rope_max_timescale": int(config.rope_theta),
        **_of_rope(config),
        **(_of_experts(config, platform) if config.num_experts else {}),
    }


def _of_experts(config: ModelConfig, platform: str) -> dict[str, Any]:
    # Its grouped products are TPU kernels; elsewhere every expert computes every token, weighted by 0 where it is not taken.
    kernels = platform == "tpu"
    return {
        "num_experts": config.num_experts,
        "num_experts_per_tok": config.experts_per_token,
        "base_moe_mlp_dim": config.expert_ffn_width,
        "norm_topk_prob": config.normalised_experts,
        "sparse_matmul": kernels,
        "megablox": kernels,
    }


def _of_rope(config: ModelConfig) -> dict[str, Any]:
    scaling = config.rope_scaling
    if scaling.kind == "default":
        return {"rope_type": "default"}
    if scaling.kind == "linear":
        return {"rope_type": "default", "rope_linear_scaling_factor": scaling.factor}
    llama3 = (scaling.factor, scaling.original_max_positions, scaling.low_freq_factor, scaling.high_freq_factor)
    if scaling.kind == "llama3" and llama3 == _LLAMA3:
        return {"rope_type": "llama3.1", "rope_use_scale": True}
    raise PolicyError(
        f"MaxText does not compute this model's RoPE scaling exactly ({scaling}): leave policy.backend at 'native'"
    )


def _of_policy(chosen: PolicyConfig, attention: str, dtypes: tuple[str, str]) -> dict[str, Any]:
    return {
        "attention": _ATTENTION[attention],
        "remat_policy": _REMATS[chosen.remat],
        "scan_layers": chosen.scan_layers,
        "float32_logits": True,  # the softmax of attention, as in the rollout engine
        "weight_dtype": dtypes[0],
        "dtype": dtypes[1],
    }


def _zero(shape: jax.ShapeDtypeStruct) -> Array:
    """A value for what nothing reads: a random key, or how often it was drawn from."""
    return jax.random.key(0) if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key) else jnp.zeros(shape.shape, shape.dtype)


def _spread(mesh: Mesh) -> Mesh:
    """The devices of `mesh` in the same order under all of MaxText's axes; those that we do not have are of size 1."""
    others = [axis for axis in _OTHER_AXES if axis not in mesh.axis_names]
    return Mesh(mesh.devices.reshape(*mesh.devices.shape, *(1 for _ in others)), (*mesh.axis_names, *others))

"""The learner's forward pass through MaxText's decoder (policy.backend="maxtext"): what `learner_forward` is for ours.

MaxText computes hidden states and lays parameters out; temperature and the chunked LM head are ours, so that the objective sees
the same numbers whichever decoder ran. Its attention knows segments, not shared prompts: rows are packed with a copy of the
prompt before each completion (`packing.pack`, share_prompts=False). Left out: sampling and export, which take the plain
decoder's parameters (`to_plain`).
"""

from __future__ import annotations

import jax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, PyTree

from evo_jax.config import ConfigError, PolicyConfig
from evo_jax.learner_forward import Scored, forward_on
from evo_jax.policy.decoder import Decoder
from evo_jax.policy.maxtext import MaxTextDecoder, abstract_maxtext, maxtext_shardings
from evo_jax.policy.maxtext_weights import MaxTextWeights
from evo_jax.sharding import parameter_shardings


class MaxTextForward:
    """A `learner_forward.Forward` whose hidden states are MaxText's."""

    def __init__(self, chosen: PolicyConfig, plain: Decoder, mesh: Mesh) -> None:
        """`plain` is the policy as it was loaded, of which only shapes and dtypes are read.

        Raises PolicyError for a model that MaxText cannot compute exactly, ConfigError for what it refuses.
        """
        if chosen.attention == "cudnn":
            raise ConfigError("policy.attention='cudnn' is not there for MaxText's decoder: leave it at 'auto'")
        self._head = forward_on(mesh, chosen.attention)
        kernel = self._head.attention
        dtypes = (plain.embedding.dtype.name, plain.compute_dtype.name)
        self.decoder = abstract_maxtext(plain.config, chosen, attention=kernel, dtypes=dtypes, mesh=mesh)
        self.attention = f"MaxText's {self.decoder.model.config.attention}"
        weights = MaxTextWeights(plain, self.decoder)
        shapes = jax.eval_shape(lambda: nnx.state(plain))
        self.to_maxtext = jax.jit(weights.to_maxtext, out_shardings=self.shardings(nnx.state(self.decoder, nnx.Param)))
        self.to_plain = jax.jit(weights.to_plain, out_shardings=parameter_shardings(mesh, shapes))

    def shardings(self, variables: nnx.State) -> PyTree:
        """Where MaxText's variables live, by its own table."""
        return maxtext_shardings(self.decoder, variables)

    def hidden(self, decoder: MaxTextDecoder, micro: dict[str, Array], policy: PolicyConfig) -> Array:
        """Hidden states of whole rows; each group of a row is one prompt with one completion."""
        del policy  # remat and the loop over layers are among MaxText's settings
        return decoder(micro["tokens"], micro["positions"], micro["group_ids"])

    def logprobs(self, hidden: Array, weight: Array, micro: dict[str, Array], temperature: Array, chunk_rows: int) -> Scored:
        """The same LM head as for the plain decoder."""
        return self._head.logprobs(hidden, weight, micro, temperature, chunk_rows)

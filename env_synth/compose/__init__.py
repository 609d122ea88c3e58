"""Building new environment sources out of admitted ones, without a model and without running anything.

`compose` makes one source; `draw_unused` picks what to compose next. Only `compute` parents whose answer is one integer are
taken: there a composed answer can be computed, stated and checked exactly. Left out: composing certificates, whose answers
have no common form.
"""

from env_synth.compose.composite import Composite, canonical_tuple, compose, draw_unused, is_composable
from env_synth.compose.operators import MAX_PARENTS, OPERATORS

__all__ = ["MAX_PARENTS", "OPERATORS", "Composite", "canonical_tuple", "compose", "draw_unused", "is_composable"]

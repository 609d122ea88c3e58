"""The adapters' error. Left out: what goes wrong inside a foreign environment, which is a `Failure` as everywhere."""

from env_synth.errors import EnvSynthError


class AdapterError(EnvSynthError):
    """A source or package that cannot be adapted or exported; says why and what would help."""

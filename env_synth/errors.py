"""The errors a user of `env_synth` can meet; each message names what was wrong, where, and what to do.

What goes wrong inside an environment is not an exception of the host: it is a `Failure` record (see `contract`).
"""


class EnvSynthError(Exception):
    """Base of every error raised on purpose here; entries print it without a traceback."""


class ContractError(EnvSynthError):
    """A source, instance or value that does not keep the environment contract."""


class SandboxError(EnvSynthError):
    """This machine cannot contain untrusted code well enough, or the sandbox itself failed."""


class RegistryError(EnvSynthError):
    """A registry or snapshot that is missing, damaged, or in use."""


class ComposeError(EnvSynthError):
    """Environments that cannot be composed as asked."""


class SolverError(EnvSynthError):
    """A model endpoint that did not answer as the `Solver` protocol requires."""

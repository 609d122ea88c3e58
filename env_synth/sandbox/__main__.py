"""`python -m env_synth.sandbox`: prints how well this machine can contain untrusted code. Ends with 1 if not well enough."""

from __future__ import annotations

import sys

from env_synth.errors import EnvSynthError
from env_synth.sandbox.host import Tier
from env_synth.sandbox.probe import describe, probe


def main() -> int:
    """Prints the report; 0 where code written by a model may run, 1 where it is refused, 2 if nothing can start."""
    try:
        found = probe()
    except EnvSynthError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(describe(found))
    return 1 if found.tier == Tier.PLAIN else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a single setting may be, as checks that name it; and the error a user sees.

Left out: which setting may be what (`config.py`).
"""

import os


class ConfigError(Exception):
    """A setting that cannot be used; the message names it, its value and what would be accepted."""


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raises ConfigError for a value that is none of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name}={value!r} is not implemented: choose one of {', '.join(map(repr, choices))}")


def at_least(name: str, value: int, low: int) -> None:
    """Raises ConfigError below `low`."""
    if value < low:
        raise ConfigError(f"{name}={value} is too small: it must be at least {low}")


def above(name: str, value: float, low: float, *, inclusive: bool = False) -> None:
    """Raises ConfigError at or below `low`, or with `inclusive` below it."""
    if not (value >= low if inclusive else value > low):
        raise ConfigError(f"{name}={value} must be {'at least' if inclusive else 'above'} {low}")


def within(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raises ConfigError outside [low, high], or (low, high]."""
    if not ((value > low if open_low else value >= low) and value <= high):
        raise ConfigError(f"{name}={value} must lie in {'(' if open_low else '['}{low}, {high}]")


def strings(name: str, value: tuple[str, ...]) -> None:
    """Raises ConfigError unless `value` is a tuple of strings, as the command line writes one."""
    if not isinstance(value, tuple) or any(not isinstance(item, str) for item in value):
        raise ConfigError(f"{name} must be a tuple of strings, got {value!r}")
    if len(value) == 1 and "," in value[0]:  # --config.x=a,b comes as one string
        raise ConfigError(f"{name}={value!r}: on the command line write a tuple as \"('a', 'b')\"")


def path_or_bucket(name: str, value: str) -> None:
    """Raises ConfigError for a place that is neither a path nor in a bucket that was tried; empty means none is named."""
    if "://" in value and not (value.startswith("gs://") and value.removeprefix("gs://").strip("/")):
        raise ConfigError(f"{name}={value!r}: write a path or gs://BUCKET/PREFIX; other stores are not implemented")


def apart(name: str, value: str, other: str, directory: str) -> None:
    """Raises ConfigError for a path inside `directory`, with which it would be lost."""
    if not value or "://" in value:
        return
    inner, outer = os.path.abspath(value), os.path.abspath(directory)
    if os.path.commonpath([inner, outer]) == outer:
        raise ConfigError(
            f"{name}={value!r} lies in {other}={directory!r} and would be lost with it: name another place, or none"
        )


def fits_lora(rank: int, alpha: float, targets: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raises ConfigError for unknown or repeated targets, and where rank and the other settings contradict each other."""
    at_least("lora.rank", rank, 0)
    strings("lora.targets", targets)
    for target in targets:
        one_of("lora.targets", target, known)
    if len(set(targets)) != len(targets):
        raise ConfigError(f"lora.targets={targets!r} names a product twice")
    if rank == 0 and (targets or alpha != 0.0):
        raise ConfigError(
            f"lora.alpha={alpha} and lora.targets={targets!r} do nothing with lora.rank=0: set lora.rank, or neither of them"
        )
    if rank > 0 and not alpha > 0.0:
        raise ConfigError(f"lora.rank={rank} needs lora.alpha above 0, got {alpha}: adapters are scaled by alpha / rank")


def storable_moments(dtype: str, memory: str, adam_b2: float) -> None:
    """Raises ConfigError where Adam's moments cannot be stored so, or would stand still."""
    one_of("optimizer.moments_dtype", dtype, ("float32", "bfloat16"))
    one_of("optimizer.moments_memory", memory, ("device", "host"))
    if dtype == "bfloat16" and adam_b2 > 0.99:
        raise ConfigError(
            f"optimizer.adam_b2={adam_b2} with moments_dtype='bfloat16': changes of less than 1 in 256 are lost in bfloat16, "
            "and the second moment would stand still; take adam_b2 of at most 0.99, or float32"
        )


def fits_backend(backend: str, maxtext_options: tuple[str, ...], expert_axis: int, lora_rank: int) -> None:
    """What only one decoder has must not be asked of the other."""
    if backend == "maxtext" and lora_rank:
        raise ConfigError(
            f"lora.rank={lora_rank} puts adapters into our own decoder, which policy.backend='maxtext' does not run: set one "
            "of them"
        )
    if backend != "maxtext" and maxtext_options:
        raise ConfigError(f"policy.maxtext_options do nothing with policy.backend={backend!r}: set policy.backend='maxtext'")
    if backend != "maxtext" and expert_axis != 1:
        raise ConfigError(f"mesh.expert={expert_axis} is an axis of MaxText's alone: set policy.backend='maxtext'")

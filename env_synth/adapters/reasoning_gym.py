"""Datasets of the reasoning-gym package as environments: a generated source each, which maps (seed, level) to an item.

The package runs where every environment runs: in a locked worker, whose zygote has imported it (`shelf`). Levels are the
package's own curriculum, as it turns them into configurations by default; a level past its last one repeats it. An item is
`reasoning_gym.create_dataset(name, seed=seed, size=1, **configuration)[0]`, so that evidence replays with the package alone.

A generated source breaks one rule of the contract: it imports `reasoning_gym`. Admission grants that rule by name and records
it (`judging`). What the wrapping costs: `public` is the seed and not the problem's parts, so that hidden input shows only as
one prompt with two answers; partial credit is cut to 1.0 or 0.0.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import keyword
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from env_synth.adapters.answer_types import answer_type_of, sampled_references
from env_synth.adapters.errors import AdapterError
from env_synth.config import SandboxConfig
from env_synth.contract import MIN_MAX_LEVEL, AnswerType, Failure, Family, Proposal
from env_synth.environment import open_environment
from env_synth.sandbox.host import Sandbox
from env_synth.sandbox.launch import Preload

PACKAGE = "reasoning_gym"
ORIGIN = "adapted"
ADDRESS_SPACE_MIB = 2048  # numpy, sympy and what they reserve; an ordinary worker has 512
ANSWER_FORMAT = "the answer alone, in the form the problem asks for"

# Datasets whose prompts leave several answers right, by reading their prompts and scorers: those are certificates.
CERTIFICATES = frozenset(
    [
        *("boxnet", "countdown", "cryptarithm", "graph_color", "intermediate_integration", "jugs", "kakurasu", "knight_swap"),
        *("n_queens", "palindrome_generation", "propositional_logic", "puzzle24", "quantum_lock", "rubiks_cube"),
        *("rush_hour", "shortest_path", "simple_integration", "sokoban", "tower_of_hanoi", "word_ladder"),
    ]
)  # Datasets that draw with their seed when they are made; of all others only the seed differs from one item to the next.
SEED_READ_WHEN_MADE = frozenset(["acre", "composite", "gsm_symbolic", "list_functions"])

_CATALOGUE = """
import dataclasses

import reasoning_gym
from reasoning_gym.factory import CURRICULA, DATASETS, create_curriculum


class Catalogue:
    family = "compute"
    answer_type = "text"
    answer_format = "nothing"
    max_level = 4

    def generate(self, rng, level):
        return {name: self.levels_of(name) for name in sorted(DATASETS)}, {}

    def levels_of(self, name):
        if name not in CURRICULA:
            return {"curriculum": False, "levels": [{}]}
        curriculum = create_curriculum(name)
        count = max([len(attribute.levels) for attribute in curriculum.attributes.values()] or [1])
        plain = dataclasses.asdict(DATASETS[name][1]())
        levels = []
        for level in range(count):
            curriculum.set_global_level(level)
            found = dataclasses.asdict(curriculum.generate_configuration())
            levels.append({key: value for key, value in found.items() if key not in ("seed", "size") and value != plain[key]})
        return {"curriculum": True, "levels": levels}

    def render(self, public):
        return "catalogue"

    def reference(self, public, private):
        return "catalogue"

    def verify(self, public, answer, reference):
        return 0.0
"""

_SOURCE = '''"""{name} of {system}: its items and its scorer, wrapped by env_synth.adapters.reasoning_gym."""

import copy
import dataclasses
import functools

import reasoning_gym

DATASET = {name!r}
LEVELS = {levels}


{dataset_of}

@functools.lru_cache(maxsize=1)
def item_of(seed, level):
    return dataset_of(seed, level)[0]


@functools.lru_cache(maxsize=512)
def graded(seed, level):
    dataset = dataset_of(seed, level)
    return dataset, dataset[0]


class {class_name}:
    family = {family!r}
    answer_type = {answer_type!r}
    answer_format = {answer_format!r}
    max_level = {max_level}

    def generate(self, rng, level):
        public = {{"seed": 2**30 + rng.getrandbits(30), "level": f"{{level:03d}}"}}
        return public, {private}

    def render(self, public):
        return item_of(**public)["question"]

    def reference(self, public, private):
        answer = {reference}
        return answer.strip() if isinstance(answer, str) else answer

    def verify(self, public, answer, reference):
        dataset, item = graded(**public)
        return 1.0 if dataset.score_answer(answer, copy.deepcopy(item)) >= 1.0 else 0.0
'''


_MADE_ONCE = """@functools.lru_cache(maxsize=None)
def made(place):
    return reasoning_gym.create_dataset(DATASET, seed=0, size=1, **LEVELS[place])


def dataset_of(seed, level):
    dataset = copy.copy(made(min(int(level), len(LEVELS) - 1)))  # making it reads files; only its seed is another
    dataset.seed = seed
    dataset.config = dataclasses.replace(dataset.config, seed=seed)
    return dataset

"""
_MADE_ANEW = """def dataset_of(seed, level):
    return reasoning_gym.create_dataset(DATASET, seed=seed, size=1, **LEVELS[min(int(level), len(LEVELS) - 1)])

"""


@dataclass(frozen=True)
class GymPackage:
    """An installed reasoning-gym: its version, and the directories it and what it needs are imported from."""

    version: str
    import_path: tuple[str, ...]

    @property
    def system(self) -> str:
        """How reports name it."""
        return f"reasoning-gym {self.version}"


@dataclass(frozen=True)
class GymDataset:
    """One dataset: the configuration of each level, in terms of what differs from its default."""

    name: str
    levels: tuple[dict[str, Any], ...]
    has_curriculum: bool

    @property
    def max_level(self) -> int:
        """The contract asks for at least five levels; a shorter curriculum repeats its last."""
        return max(len(self.levels) - 1, MIN_MAX_LEVEL)


@dataclass(frozen=True)
class Adapted:
    """A source made from another system's environment. `system` is named in every report on it."""

    name: str
    system: str
    source: str
    dataset: GymDataset
    family: Family
    answer_type: AnswerType

    @property
    def proposal(self) -> Proposal:
        """What admission judges."""
        return Proposal(self.source, origin=ORIGIN, operator=f"{self.system}: {self.name}")


def find_package(site_packages: str | None = None) -> GymPackage:
    """The installed package: in a directory, or where this Python would find it. Imports nothing of it.

    Raises AdapterError with what to install where there is none.
    """
    if site_packages is None:
        spec = importlib.util.find_spec(PACKAGE)
        found = None if spec is None or spec.origin is None else Path(spec.origin).parents[1]
    else:
        found = Path(site_packages).resolve()
    if found is None or not (found / PACKAGE / "__init__.py").is_file():
        where = "this Python" if site_packages is None else site_packages
        raise AdapterError(
            f"reasoning-gym is not installed in {where}: pip install -r requirements-adapters.txt, or name the site-packages "
            "directory that holds it"
        )
    versions = [item.version for item in importlib.metadata.distributions(path=[str(found)]) if _is_gym(item)]
    own = [path for path in sys.path if path.endswith("site-packages")] if site_packages is None else []
    return GymPackage(versions[0] if versions else "of unknown version", tuple(dict.fromkeys([str(found), *own])))


def _is_gym(distribution: importlib.metadata.Distribution) -> bool:
    return str(distribution.metadata["Name"]).replace("_", "-").lower() == "reasoning-gym"


def open_sandbox(package: GymPackage, datasets: Sequence[GymDataset] = (), config: SandboxConfig | None = None) -> Sandbox:
    """A sandbox whose workers know the package, and have the named datasets warm. Raises SandboxError as any does."""
    settings = config or SandboxConfig()
    settings = replace(settings, address_space_mib=max(settings.address_space_mib, ADDRESS_SPACE_MIB))
    warm = [[dataset.name, dataset.levels[0]] for dataset in datasets]
    return Sandbox(settings, preload=Preload("env_synth.adapters.shelf", json.dumps(warm), package.import_path))


def list_datasets(package: GymPackage) -> dict[str, GymDataset]:
    """Every dataset that the package registers, by name, with the configurations of its curriculum's levels."""
    with open_sandbox(package) as sandbox:
        opened = open_environment(sandbox, _CATALOGUE)
        if isinstance(opened, Failure):
            raise AdapterError(f"{package.system} does not say what it holds: {opened.detail}")
        with opened:
            made = opened.generate(0, 0)
    if isinstance(made, Failure):
        raise AdapterError(f"{package.system} does not say what it holds: {made.detail}")
    return {name: GymDataset(name, tuple(found["levels"]), found["curriculum"]) for name, found in made[0].items()}


def adapt(dataset: GymDataset, package: GymPackage, sandbox: Sandbox) -> Adapted | Failure:
    """The source that wraps a dataset; a Failure where not even a first item can be had.

    The answer's type is read off references drawn in `sandbox` (of `open_sandbox`, with the dataset warm).
    """
    family = Family.CERTIFICATE if dataset.name in CERTIFICATES else Family.COMPUTE
    references = sampled_references(sandbox, wrap(dataset, package, family, AnswerType.TEXT).source)
    if isinstance(references, Failure):
        return references
    return wrap(dataset, package, family, answer_type_of(references))


def wrap(dataset: GymDataset, package: GymPackage, family: Family, answer_type: AnswerType) -> Adapted:
    """The generated source, with family and answer type as given. Raises AdapterError for a name that is no identifier."""
    class_name = "".join(part.capitalize() for part in dataset.name.split("_"))
    if not class_name.isidentifier() or keyword.iskeyword(class_name):
        raise AdapterError(f"the dataset name {dataset.name!r} makes no class name")
    certificate = family is Family.CERTIFICATE
    source = _SOURCE.format(
        name=dataset.name,
        system=package.system,
        levels=_literal(dataset.levels),
        dataset_of=_MADE_ANEW if dataset.name in SEED_READ_WHEN_MADE else _MADE_ONCE,
        class_name=class_name,
        family=family.value,
        answer_type=answer_type.value,
        answer_format=ANSWER_FORMAT,
        max_level=dataset.max_level,
        private='{"answer": item_of(**public)["answer"]}' if certificate else "{}",
        reference='private["answer"]' if certificate else 'item_of(**public)["answer"]',
    )
    return Adapted(dataset.name, package.system, source, dataset, family, answer_type)


def _literal(levels: Sequence[dict[str, Any]]) -> str:
    return "[\n" + "".join(f"    {level!r},\n" for level in levels) + "]"

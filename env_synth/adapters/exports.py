"""Admitted environments, written for other systems: a package for `verifiers`, or a module for reasoning-gym.

Both carry the source, its hash and its admission report, and need this project beside them: instances are made and answers
graded by `serving`, inside the sandbox. `verifiers` exists in two shapes, so the package answers to both: `load_environment`
with a rubric (0.1), and a taskset of tasks with a reward (`verifiers.v1`, from 0.4). Left out: publishing, and sources that
were adapted from reasoning-gym, which are there already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from env_synth.adapters.errors import AdapterError
from env_synth.contract import declared_info, environment_id

SYSTEMS = ("verifiers", "reasoning_gym")
SOURCE_FILE = "source.py.txt"  # not importable by accident
REPORT_FILE = "admission.json"

_SERVED = '''"""The environment behind this package: its source, pinned by hash, run and graded in env_synth's sandbox."""

import functools
from pathlib import Path

from env_synth.adapters.serving import ServedEnvironment

ENVIRONMENT_ID = "{identity}"


@functools.cache
def served():
    """The one environment of this process; its workers start when it is first asked for."""
    source = Path(__file__).with_name("{source_file}").read_bytes().decode("utf-8")
    return ServedEnvironment(source, ENVIRONMENT_ID)
'''

_INIT = '''"""{title} (environment {short}), exported from env_synth for `verifiers`, 0.1 and v1."""

import verifiers

if hasattr(verifiers, "SingleTurnEnv"):
    from {name}.single_turn import load_environment

    __all__ = ["load_environment"]
else:
    from {name}.taskset import {title}Taskset

    __all__ = ["{title}Taskset"]
'''

_SINGLE_TURN = '''"""verifiers 0.1: `verifiers.load_environment("{name}")`."""

import json

import verifiers as vf
from datasets import Dataset

from env_synth.adapters.serving import ScoreFailedError, coordinates_of
from env_synth.contract import Split
from {name}.served import served


def load_environment(level: int = {level}, train_instances: int = 256, eval_instances: int = 64):
    """A single-turn environment at one level. Training and evaluation instances are disjoint by content."""
    rubric = vf.Rubric(funcs=[correct_answer, score_failed], weights=[1.0, 0.0])
    return vf.SingleTurnEnv(
        dataset=rows(Split.TRAIN, level, train_instances),
        eval_dataset=rows(Split.HELD_OUT, level, eval_instances),
        rubric=rubric,
    )


def rows(split: Split, level: int, count: int) -> Dataset:
    """Prompt, reference answer and the coordinates by which a grade finds the instance again."""
    environment = served()
    found = [
        {{
            "prompt": [{{"role": "user", "content": environment.question(instance)}}],
            "answer": instance.reference_answer,
            "info": json.dumps(coordinates_of(instance)),
        }}
        for instance in environment.instances(split, level, count)
    ]
    return Dataset.from_list(found)


def correct_answer(completion, info) -> float:
    """1.0 or 0.0, graded in the sandbox. verifiers turns an exception into 0.0: `score_failed` tells the two apart."""
    coordinates = json.loads(info) if isinstance(info, str) else info
    return served().score_reply(served().recall(coordinates), text_of(completion))


def score_failed(completion, info) -> float:
    """1.0 where the environment or the machine failed to give a score: leave such rollouts out of any loss."""
    try:
        correct_answer(completion, info)
    except ScoreFailedError:
        return 1.0
    return 0.0


def text_of(completion) -> str:
    """The last message's text, of messages or of a plain completion."""
    if isinstance(completion, str):
        return completion
    content = completion[-1]["content"] if completion else ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
'''

_TASKSET = '''"""verifiers.v1: the taskset `{name}`."""

from collections.abc import Iterable

import verifiers.v1 as vf

from env_synth.adapters.serving import coordinates_of
from env_synth.contract import Split
from {name}.served import served


class {title}Data(vf.TaskData):
    """A prompt and the coordinates by which a grade finds the instance again."""

    answer: str
    coordinates: dict[str, str | int]


class {title}Task(vf.Task[{title}Data]):
    """One instance."""

    @vf.reward(weight=1.0)
    async def correct_answer(self, trace: vf.Trace) -> float:
        """1.0 or 0.0, graded in the sandbox; a failure to grade is the task's error, never a reward."""
        return served().score_reply(served().recall(dict(self.data.coordinates)), trace.last_reply)


class {title}Config(vf.TasksetConfig):
    """Which instances: `split` is train or held_out, which are disjoint by content."""

    level: int = {level}
    instances: int = 256
    split: str = "train"


class {title}Taskset(vf.Taskset[{title}Task, {title}Config]):
    """Instances of one environment at one level."""

    def load(self) -> Iterable[{title}Task]:
        """The tasks, in the order in which admission and training draw them."""
        environment = served()
        for instance in environment.instances(Split(self.config.split), self.config.level, self.config.instances):
            yield {title}Task(
                {title}Data(
                    id=instance.instance_id,
                    prompt=environment.question(instance),
                    answer=instance.reference_answer,
                    coordinates=coordinates_of(instance),
                ),
                self.config.task,
            )
'''

_PYPROJECT = """[project]
name = "{dashed}"
version = "0.1.0"
description = "{title}, a verifiable environment exported from env_synth (environment {short})."
requires-python = ">=3.12"
dependencies = ["evoenv-jax", {needs}]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["{name}"]
"""

_GYM_DATASET = '''"""{title} (environment {short}) as the reasoning-gym dataset `{name}`; importing registers it."""

from dataclasses import dataclass

from env_synth.adapters.serving import coordinates_of
from {name}.served import ENVIRONMENT_ID, served
from reasoning_gym.coaching import BaseCurriculum, ScalarAttributeDefinition
from reasoning_gym.factory import DATASETS, ProceduralDataset, register_dataset

DATASET_NAME = "{name}"


@dataclass
class {title}Config:
    """Which level, and which of its instances."""

    level: int = {level}
    seed: int | None = None
    size: int = 500

    def validate(self) -> None:
        """Refuses a level that the environment does not have."""
        assert 0 <= self.level <= {max_level}, "level must be between 0 and {max_level}"
        assert self.size > 0, "size must be positive"


class {title}Dataset(ProceduralDataset):
    """Training instances of the environment; items are found by a hash of seed and index, so no two seeds share a stream."""

    def __init__(self, config: {title}Config) -> None:
        super().__init__(config=config, seed=config.seed, size=config.size)

    def __getitem__(self, idx: int) -> dict:
        """One item; its metadata says which instance of the environment it is."""
        instance = served().instance_at(self.seed, idx, self.config.level)
        return {{
            "question": served().question(instance, "tag_or_last_value"),
            "answer": instance.reference_answer,
            "metadata": {{
                "source_dataset": DATASET_NAME,
                "source_index": idx,
                "environment_id": ENVIRONMENT_ID,
                "instance": coordinates_of(instance),
                "difficulty": {{"level": self.config.level}},
            }},
        }}

    def score_answer(self, answer: str | None, entry: dict) -> float:
        """1.0 or 0.0, graded in the sandbox. Raises where no grade could be had: that is no wrong answer."""
        if not isinstance(answer, str) or not answer.strip():
            return 0.0
        return served().score_answer(served().recall(entry["metadata"]["instance"]), answer)


class {title}Curriculum(BaseCurriculum):
    """The environment's own levels."""

    def __init__(self) -> None:
        super().__init__({title}Curriculum.__name__, {title}Config)
        levels = list(range({max_level} + 1))
        self._define_attributes(
            ScalarAttributeDefinition(name="level", field_name="level", levels=levels, description="The environment's level")
        )


if DATASET_NAME not in DATASETS:
    register_dataset(DATASET_NAME, {title}Dataset, {title}Config, {title}Curriculum)
'''

_PACKAGES: dict[str, dict[str, str]] = {
    "verifiers": {"__init__.py": _INIT, "single_turn.py": _SINGLE_TURN, "taskset.py": _TASKSET, "served.py": _SERVED},
    "reasoning_gym": {"__init__.py": _GYM_DATASET, "served.py": _SERVED},
}
_NEEDS = {"verifiers": '"verifiers", "datasets"', "reasoning_gym": '"reasoning-gym"'}


def export(
    source: str, system: str, folder: Path, *, report: Mapping[str, Any], name: str = "", level: int | None = None
) -> Path:
    """Writes the package into `folder`/<name with dashes> and returns that directory.

    `report` is the admission report that goes with it; it must not refuse the source. `name`: the package's name, by default
    made of the class's; `level`: the default level, by default the middle one. Raises AdapterError, also where the directory is
    there already.
    """
    if system not in _PACKAGES:
        raise AdapterError(f"cannot export to {system!r}; there are {', '.join(SYSTEMS)}")
    identity = environment_id(source)
    if report.get("environment_id") != identity or not report.get("admitted"):
        reason = f"refused at {report.get('refused_at')}: {report.get('reason')}"
        raise AdapterError(f"environment {identity[:12]} is not admitted ({reason}); only admitted environments are exported")
    info = declared_info(source)
    package = name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", info.class_name).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package):
        raise AdapterError(f"{package!r} is no package name: lower-case letters, digits and underscores")
    start = info.max_level // 2 if level is None else level
    if not 0 <= start <= info.max_level:
        raise AdapterError(f"level {start}: the environment has levels 0 to {info.max_level}")
    words: dict[str, str | int] = {
        "name": package,
        "dashed": package.replace("_", "-"),
        "title": "".join(part.capitalize() for part in package.split("_")),
        "identity": identity,
        "short": identity[:12],
        "level": start,
        "max_level": info.max_level,
        "source_file": SOURCE_FILE,
        "needs": _NEEDS[system],
    }
    files = {f"{package}/{file}": template.format(**words) for file, template in _PACKAGES[system].items()}
    files[f"{package}/{SOURCE_FILE}"] = source
    files[f"{package}/{REPORT_FILE}"] = json.dumps(dict(report), indent=1) + "\n"
    files["pyproject.toml"] = _PYPROJECT.format(**words)
    target = folder / package.replace("_", "-")
    try:
        target.mkdir(parents=True, exist_ok=False)
        for file, text in files.items():
            (target / file).parent.mkdir(exist_ok=True)
            (target / file).write_bytes(text.encode("utf-8"))
    except FileExistsError:
        raise AdapterError(f"{target} is there already; name another directory or package") from None
    except OSError as error:
        raise AdapterError(f"{target}: cannot be written ({error.strerror})") from None
    return target

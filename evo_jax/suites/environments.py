"""Suites of environments: held-out instances of the seeds, of the held-out families, and of reasoning-gym's datasets.

Instances are drawn as training draws them, from the held-out split: their content can't be among the training instances of
the same environment. Seeds and held-out families are graded by the scoring pool, as in training; reasoning-gym's scorers run in
a sandbox that has the package, one fresh worker for each instance. Left out: environments that a run admitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from env_synth.adapters import reasoning_gym
from env_synth.answers import answer_instruction, extract_answer
from env_synth.contract import Failure, Instance, Score, Split, environment_id
from env_synth.environment import open_environment
from env_synth.heldout import heldout_sources
from env_synth.instances import draw_instances
from env_synth.sandbox.host import Sandbox
from env_synth.scoring import ScoreItem, ScoringPool
from env_synth.seeds import seed_sources
from evo_jax.suites.records import Problem, SuiteError, SuiteOptions

# All passed every stage of admission (docs/results.md) and have short prompts: what `--reasoning_gym` left empty stands for.
REASONING_GYM_DATASETS = (
    "base_conversion",
    "chain_sum",
    "count_primes",
    "family_relationships",
    "lcm",
    "leg_counting",
    "spell_backward",
    "word_sequence_reversal",
)


@dataclass(frozen=True)
class _Named:
    """A source with the name that reports give it. `trusted`: its hash is pinned in this project."""

    name: str
    source: str
    trusted: bool


class EnvironmentSuite:
    """Instances of environments and what grades them."""

    def __init__(self, name: str, named: Sequence[_Named], instances: Sequence[Instance], options: SuiteOptions) -> None:
        """`instances` are those of `named`, whose sources grade them."""
        self.name = name
        self._named = {environment_id(environment.source): environment for environment in named}
        self._instances = list(instances)
        self._options = options
        self.problems = [self._problem(instance) for instance in instances]
        self.environment_ids = frozenset(self._named)

    def _problem(self, instance: Instance) -> Problem:
        # As PromptFormat.solver_prompt asks it in training; a test holds the two together.
        message = f"{instance.prompt}\n{answer_instruction(instance, self._options.extraction_rule)}"
        name = self._named[instance.environment_id].name
        return Problem(name, instance.instance_id, instance.level, instance.prompt, message)

    def _source(self, instance: Instance) -> _Named:
        return self._named[instance.environment_id]


class PooledSuite(EnvironmentSuite):
    """Graded by the scoring pool, replays and quarantine included."""

    def __init__(
        self, name: str, named: Sequence[_Named], instances: Sequence[Instance], options: SuiteOptions, pool: ScoringPool
    ) -> None:
        """The pool must be running."""
        super().__init__(name, named, instances, options)
        self._pool = pool
        self.grader = f"verify of each environment, {pool.containment}"

    def grade(self, replies: Sequence[Sequence[str]]) -> list[list[Score]]:
        """See `Suite.grade`."""
        groups = []
        for instance, group in zip(self._instances, replies, strict=True):
            named = self._source(instance)
            groups.append(ScoreItem(named.source, instance, tuple(group), trusted=named.trusted))
        return self._pool.score(groups)


class SandboxSuite(EnvironmentSuite):
    """Graded in a sandbox of its own, which knows packages that others don't."""

    def __init__(
        self,
        name: str,
        named: Sequence[_Named],
        instances: Sequence[Instance],
        options: SuiteOptions,
        sandbox: Sandbox,
        system: str,
    ) -> None:
        """`system` names the package and its version."""
        super().__init__(name, named, instances, options)
        self._sandbox = sandbox
        self.grader = f"{system}, {sandbox.containment}"

    def grade(self, replies: Sequence[Sequence[str]]) -> list[list[Score]]:
        """See `Suite.grade`."""
        return [self._grade_group(*pair) for pair in zip(self._instances, replies, strict=True)]

    def _grade_group(self, instance: Instance, group: Sequence[str]) -> list[Score]:
        answers = [extract_answer(reply, instance.answer_type, self._options.extraction_rule) for reply in group]
        given = [answer for answer in answers if answer is not None]
        opened = open_environment(self._sandbox, self._source(instance).source)
        if isinstance(opened, Failure):
            return [Score(0.0) if answer is None else Score(0.0, opened) for answer in answers]
        with opened:
            graded = iter(opened.verify_many(instance, given))
        return [Score(0.0) if answer is None else next(graded) for answer in answers]


def open_held_out_seeds(options: SuiteOptions, stack: ExitStack) -> PooledSuite:
    """Suite `held_out_seeds`: held-out instances of the ten seed environments."""
    return _pinned_suite("held_out_seeds", seed_sources(), options, stack)


def open_heldout(options: SuiteOptions, stack: ExitStack) -> PooledSuite:
    """Suite `heldout`: the evaluation families, which no run trains on or shows to its proposer."""
    return _pinned_suite("heldout", heldout_sources(), options, stack)


def open_reasoning_gym(options: SuiteOptions, stack: ExitStack) -> SandboxSuite:
    """Suite `reasoning_gym`: datasets of the installed package.

    Raises AdapterError where the package is missing, SuiteError for a dataset that it does not have or that can't be wrapped.
    """
    package = reasoning_gym.find_package(options.reasoning_gym_packages)
    known = reasoning_gym.list_datasets(package)
    names = options.reasoning_gym or REASONING_GYM_DATASETS
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SuiteError(f"--reasoning_gym: {package.system} has no dataset {', '.join(unknown)}; it has {', '.join(known)}")
    datasets = [known[name] for name in names]
    sandbox = stack.enter_context(reasoning_gym.open_sandbox(package, datasets, options.env_synth.sandbox))
    named = []
    for dataset in datasets:
        adapted = reasoning_gym.adapt(dataset, package, sandbox)
        if isinstance(adapted, Failure):
            raise SuiteError(f"--reasoning_gym: {dataset.name} gives no item: {adapted.detail}; leave it out")
        named.append(_Named(dataset.name, adapted.source, trusted=False))
    instances = _draw(sandbox, named, options)
    return SandboxSuite("reasoning_gym", named, instances, options, sandbox, package.system)


def _pinned_suite(name: str, sources: Mapping[str, str], options: SuiteOptions, stack: ExitStack) -> PooledSuite:
    named = [_Named(key, source, trusted=True) for key, source in sources.items()]
    with Sandbox(options.env_synth.sandbox) as sandbox:
        instances = _draw(sandbox, named, options)
    pool = stack.enter_context(ScoringPool(options.env_synth.sandbox, options.env_synth.scoring))
    return PooledSuite(name, named, instances, options, pool)


def _draw(sandbox: Sandbox, named: Sequence[_Named], options: SuiteOptions) -> list[Instance]:
    """Held-out instances of every environment at every chosen level it has. Raises SuiteError where one can't make any."""
    drawn: list[Instance] = []
    for environment in named:
        opened = open_environment(sandbox, environment.source, trusted=environment.trusted)
        if isinstance(opened, Failure):
            raise SuiteError(f"{environment.name} does not load in the sandbox: {opened.detail}")
        with opened:
            for level in options.levels:
                if level > opened.info.max_level:
                    raise SuiteError(f"--levels: {environment.name} has levels 0 to {opened.info.max_level}, not {level}")
                found = draw_instances(opened, Split.HELD_OUT, level, options.prompts_per_environment)
                if isinstance(found, Failure):
                    raise SuiteError(f"{environment.name} failed to make an instance at level {level}: {found.detail}")
                drawn += found.instances
    return drawn

"""Do rounds stay flat? Seconds a round and memory over many rounds of evolution, with a simulated policy.

Command: python -m benchmarks.rounds [--rounds=200]. Prints one table and writes results/rounds.json. The policy is a double,
named so: it writes no model's text, but sources put together from random steps, broken ones and copies, and answers
calibration by chance. All else is real: reading proposals, admission in the sandbox, calibration, composites, the registry
on disk, levels, rotation, and a snapshot every round. Left out: sampling and the update, whose cost does not depend on how
many rounds there were. The slope is a least-squares fit with its standard error; a share of the mean per 100 rounds.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.record import write_record
from env_synth.admission.static import read_source
from env_synth.novelty import fingerprint
from env_synth.registry import Registry
from env_synth.sandbox.host import Sandbox
from env_synth.snapshots import Snapshot
from evo_jax.config import Config
from evo_jax.evolve import Evolution, EvolutionParts
from evo_jax.given_environments import given_environments
from evo_jax.policy.loading import load_policy
from evo_jax.policy.tokenizer import Tokenizer
from evo_jax.pool import EnvironmentPool
from evo_jax.rollouts.protocol import Completion, OnGroup, RolloutRequest, RolloutStats

WARM_UP_ROUNDS = 20
# What a step says, how a source does it, and how the double that answers does it.
STEPS: tuple[tuple[str, str, Callable[[int, dict[str, int]], int]], ...] = (
    (
        "the sum of its digits is added",
        "value + sum(int(digit) for digit in str(value))",
        lambda v, w: v + sum(map(int, str(v))),
    ),
    ("it is reversed digit by digit", "int(str(value)[::-1])", lambda v, w: int(str(v)[::-1])),
    ("it is multiplied by {a} and reduced modulo {m}", "value * {a} % {m}", lambda v, w: v * w["a"] % w["m"]),
    (
        "if it is even it is halved, else {a} is added",
        "value // 2 if value % 2 == 0 else value + {a}",
        lambda v, w: v // 2 if v % 2 == 0 else v + w["a"],
    ),
    ("its smallest digit is subtracted", "value - int(min(str(value)))", lambda v, w: v - int(min(str(v)))),
    ("it is squared and reduced modulo {m}", "value * value % {m}", lambda v, w: v * v % w["m"]),
    ("{a} is added as often as it has digits", "value + {a} * len(str(value))", lambda v, w: v + w["a"] * len(str(v))),
    (
        "the number of its digits above {d} is added",
        "value + sum(int(digit) > {d} for digit in str(value))",
        lambda v, w: v + sum(int(digit) > w["d"] for digit in str(v)),
    ),
)
SOURCE = '''
class {name}:
    """A number goes through steps, several times."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 6

    def generate(self, rng, level):
        return {{"start": rng.randint(10, 10 ** (2 + level)), "times": 1 + level * 2}}, {{}}

    def render(self, public):
        lines = [f"Start with the number {{public['start']}} and do these steps in order, {{public['times']}} times over:"]
{told}
        return "\\n".join(lines + ["What is the number at the end?"])

    def reference(self, public, private):
        value = public["start"]
        for _ in range(public["times"]):
{done}
        return str(value)

    def verify(self, public, answer, reference):
        text = answer.strip()
        return 1.0 if text.isdecimal() and len(text) < 40 and int(text) == int(reference) else 0.0
'''


type Step = tuple[int, dict[str, int]]  # which of STEPS, and the numbers in it


def random_steps(rng: random.Random) -> list[Step]:
    """Two to five steps."""
    numbers = [{"a": rng.randint(2, 97), "m": rng.choice((997, 1009, 7919)), "d": rng.randint(1, 8)} for _ in range(5)]
    return [(rng.randrange(len(STEPS)), numbers[place]) for place in range(rng.randint(2, 5))]


def source_of(steps: Sequence[Step], number: int) -> str:
    """The environment that asks for these steps."""
    texts = [STEPS[which][0].format(**words) for which, words in steps]
    told = [f'        lines.append("{place}. {text}")' for place, text in enumerate(texts, 1)]
    done = [f"            value = {STEPS[which][1].format(**words)}" for which, words in steps]
    return SOURCE.format(name=f"Steps{number}", told="\n".join(told), done="\n".join(done))


class SimulatedPolicy:
    """A double of a policy, named so: it writes random sources, garbage and broken ones, and works the first kind out, with a
    slip now and then at every step."""

    policy_version = 0
    stats = RolloutStats()
    slip = 0.06

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._steps: dict[str, Step] = {}  # by the text of the step
        self._written = 0

    def load_weights(self, params: object, policy_version: int) -> None:
        """Notes the version: there are no weights."""
        self.policy_version = policy_version

    def generate(
        self,
        requests: Sequence[RolloutRequest],
        on_progress: object = None,
        *,
        on_group: OnGroup | None = None,
        should_stop: object = None,
    ) -> list[list[Completion]]:
        """As a rollout engine, all at once; every reply is a function of the request's seed and what was written before."""
        groups = [[self._reply(request, place) for place in range(request.group_size)] for request in requests]
        if on_group is not None:
            for place, group in enumerate(groups):
                on_group(place, group)
        return groups

    def close(self) -> None:
        """Nothing to close."""

    def _reply(self, request: RolloutRequest, place: int) -> Completion:
        rng = random.Random(f"{request.seed}/{place}")
        prompt = self._tokenizer.decode(request.prompt_tokens)
        asked = "Reply with one Python code block that holds the whole source." in prompt
        text = self._proposal(rng) if asked else self._answer(prompt, rng)
        return Completion(np.array([5], np.int32), np.array([-0.1], np.float32), text, "stop", np.zeros(1, np.int32))

    def _proposal(self, rng: random.Random) -> str:
        self._written += 1
        steps = random_steps(rng)
        self._steps |= {STEPS[which][0].format(**words): (which, words) for which, words in steps}
        source, kind = source_of(steps, self._written), rng.random()
        return "I am not sure." if kind < 0.1 else f"```python\n{source[: 400 if kind < 0.25 else None]}\n```"

    def _answer(self, prompt: str, rng: random.Random) -> str:
        start = re.search(r"Start with the number ([0-9]+) and do these steps in order, ([0-9]+) times", prompt)
        found = [self._steps[text] for text in re.findall(r"^[1-9]\. (.*)$", prompt, re.MULTILINE) if text in self._steps]
        if start is None or not found:
            return str(rng.randint(0, 99))
        value = int(start[1])
        for which, words in found * int(start[2]):
            value = STEPS[which][2](value, words) + (rng.random() < self.slip)
        return str(value)


def resident_mib() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def run_rounds(config: Config, directory: Path, rounds: int) -> tuple[list[dict[str, float]], Registry]:
    """One row a round; the registry is closed, its records stay readable."""
    policy = load_policy(config.policy.path)
    rows = []
    with (
        Registry.open(directory) as registry,
        Sandbox(config.env_synth.sandbox) as own,
        Sandbox(config.env_synth.sandbox) as other,
    ):
        pool = EnvironmentPool(config, registry, own, directory)
        pool.add(given_environments(config, own))
        snapshot: Snapshot = pool.make_snapshot(1, 0, None)
        parts = EvolutionParts(
            policy.tokenizer, registry, pool.learnability, pool.solve_rate, policy.model_config.max_positions
        )
        evolution, simulated = Evolution(config, parts, other), SimulatedPolicy(policy.tokenizer)
        rng = random.Random(0)
        for number in range(rounds):
            started, step = time.perf_counter(), number * config.evolve.round_steps
            outcome = evolution.conclude(step, simulated)
            for record in pool.active():
                pool.note_scores(record.environment_id, failed=0, total=16, solved=rng.randint(0, 16))
            pool.rotate(step)
            snapshot = pool.make_snapshot(snapshot.number + 1, step, snapshot)
            evolution.ask(step, simulated)
            evolution.wait()
            admitted = 0.0 if outcome is None else float(outcome.metrics.get("proposals/admitted", 0.0))  # type: ignore[arg-type]
            rows.append(
                {
                    "seconds": time.perf_counter() - started,
                    "resident_mib": resident_mib(),
                    "archived": len(registry.archive()),
                    "active": len(pool.active()),
                    "admitted": admitted,
                }
            )
        evolution.close()
        _print_diversity(registry)
    return rows, registry


def _print_diversity(registry: Registry) -> None:
    made = [record for record in registry.environments() if record.origin == "proposal"]
    found = [(facts, record) for record in made if (facts := read_source(record.source)[0]) is not None]
    distinct = {fingerprint(facts.tree, facts.environment_class).normalised_hash for facts, _ in found}
    types = Counter(str(record.info.answer_type) for record in made)
    print(f"{len(made)} proposals admitted, {len(distinct)} distinct normalised sources, answer types {dict(types)}")


def slope(values: Sequence[float]) -> tuple[float, float]:
    """(slope, its standard error) of a least-squares line over rounds, as shares of the mean per 100 rounds."""
    y = np.asarray(values, np.float64)
    x = np.arange(len(y)) - (len(y) - 1) / 2
    gain = float((x * y).sum() / (x * x).sum())
    residual = y - y.mean() - gain * x
    error = float(np.sqrt((residual**2).sum() / (len(y) - 2) / (x * x).sum()))
    return 100 * gain / float(y.mean()), 100 * error / float(y.mean())


def main() -> None:
    """Runs the rounds, prints the table, writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    config = Config()
    config.evolve.proposal_group_size = 2
    config.env_synth.model_stages.stages = ("S9",)
    config.env_synth.scoring.extraction_rule = "tag_or_last_value"
    config.evolve.round_steps = 1
    with tempfile.TemporaryDirectory() as folder:
        rows, _ = run_rounds(config, Path(folder), options.rounds)
    table = Table(title=f"{options.rounds} rounds with a simulated policy (a double)")
    for column in ("measure", "first quarter", "last quarter", "slope per 100 rounds", "standard error"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    kept = rows[WARM_UP_ROUNDS:]
    quarter = max(1, len(kept) // 4)
    summary = []
    for name in ("seconds", "resident_mib", "archived", "active"):
        values = [row[name] for row in kept]
        first, last = float(np.median(values[:quarter])), float(np.median(values[-quarter:]))
        gain, error = slope(values)
        table.add_row(name, f"{first:.2f}", f"{last:.2f}", f"{gain:+.1%}", f"{error:.1%}")
        summary.append({"measure": name, "first_quarter": first, "last_quarter": last, "slope": gain, "error": error})
    Console(width=110).print(table)
    print(write_record("rounds", {"rounds": options.rounds, "warm_up_rounds": WARM_UP_ROUNDS}, summary, {}))


if __name__ == "__main__":
    main()

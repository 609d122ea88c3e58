"""A double, named so: stands where a model would, and says what a test has scripted. Not a model, and no evidence about any."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from env_synth.prompts import DIRECT_INSTRUCTION
from env_synth.solver.protocol import Reply

OPINIONS = Path(__file__).parent / "seed_opinions"
SOUND = 'Looked at it.\n{"verdict": "sound", "problem": ""}'
BROKEN = 'Found it.\n{"verdict": "broken", "problem": "ties"}'


def kind_of(prompt: str) -> str:
    """What a prompt asks for: review, reference, verifier, direct or solve."""
    if "You review puzzle environments" in prompt:
        return "review"
    if "Write a Python function `solve(text)`" in prompt:
        return "reference"
    if "Write a Python function `check(text, answer)`" in prompt:
        return "verifier"
    return "direct" if DIRECT_INSTRUCTION in prompt else "solve"


def chance(prompt: str, place: int, seed: int) -> float:
    """A number in [0, 1) that depends on its arguments alone."""
    digest = hashlib.sha256(f"{seed}/{place}/{prompt}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


@dataclass
class ScriptedDouble:
    """review, opinion: the reply to such a prompt, or a function of (prompt, place) that gives it.

    solve: right answer to a whole solving prompt; solve_rate: how often it is given, by prompt; else a wrong one is.
    Every call is kept in `calls` as (kinds, n, max_tokens).
    """

    review: str | Callable[[str, int], str] = SOUND
    opinion: str | Callable[[str, int], str] = "no code"
    solve: Callable[[str], str] = lambda prompt: "?"
    solve_rate: Callable[[str], float] = lambda prompt: 0.0
    direct_rate: Callable[[str], float] = lambda prompt: 0.0
    wrong: Callable[[str, int], str] = lambda prompt, place: f"wrong {chance(prompt, place, 1)}"
    truncated: bool = False
    name: str = "scripted double"
    calls: list[tuple[list[str], int, int]] = field(default_factory=list)

    def replies(
        self, prompts: Sequence[str], n: int, max_tokens: int, temperature: float, seed: int, stop: Sequence[str] = ()
    ) -> list[list[Reply]]:
        self.calls.append(([kind_of(prompt) for prompt in prompts], n, max_tokens))
        return [[self._reply(prompt, place, seed) for place in range(n)] for prompt in prompts]

    def _reply(self, prompt: str, place: int, seed: int) -> Reply:
        kind = kind_of(prompt)
        if kind == "review":
            return Reply(self.review if isinstance(self.review, str) else self.review(prompt, place))
        if kind in ("reference", "verifier"):
            text = self.opinion if isinstance(self.opinion, str) else self.opinion(prompt, place)
            return Reply(f"```python\n{text}\n```")
        rate = (self.direct_rate if kind == "direct" else self.solve_rate)(prompt)
        right = chance(prompt, place, seed) < rate
        answer = self.solve(prompt) if right else self.wrong(prompt, place)
        return Reply(f"So it is <answer>{answer}</answer>", self.truncated)


@dataclass
class EmbedderDouble:
    """Vectors out of counted character triples: texts that share wording lie close together."""

    name: str = "embedder double"
    texts: int = 0

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.texts += len(texts)
        return [self._vector(text) for text in texts]

    def _vector(self, text: str) -> list[float]:
        vector = [1.0] * 256
        for start in range(len(text) - 2):
            vector[hashlib.blake2b(text[start : start + 3].encode(), digest_size=1).digest()[0]] += 1.0
        return vector


def seed_author(prompt: str, place: int) -> str:
    """The second reference that a person wrote for the seed whose prompts are shown."""
    marks = {
        "register_machine": ("Start with", "At the start"),
        "edit_distance": ("Adding a letter",),
        "toll_shortest_path": ("One road from", "roads between towns", "Roads between towns", "From "),
        "linear_recurrence": ("Each next number", "reduced modulo"),
        "interval_scheduling": ("Jobs, each", "Two jobs"),
        "grid_paths": ("Grid of",),
        "subset_sum": ("Which of these numbers",),
        "graph_colouring": ("different colours",),
        "hamiltonian_path": ("Visit every town",),
        "latin_square": ("Each row and each column",),
    }
    found = [name for name, texts in marks.items() if any(text in prompt for text in texts)]
    name = next((name for name in found if name != "linear_recurrence"), found[0])
    return (OPINIONS / f"{name}.py").read_text()

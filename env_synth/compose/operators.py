"""The operators: the table of them, and the text of the frame that every composite has around its operator's rule.

The texts are environment source: they keep the contract's rules and are never run here. Words between @ are filled in.
Left out: the rules themselves (`rules`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from env_synth.compose.rules import CHAINED, HORIZON, PARALLEL, SELECT, SORT, SUMMED
from env_synth.contract import AnswerType

MAX_PARENTS = 4
PROMPT_CHARACTERS = 3400  # shared by the problems of a prompt; rules and titles need the rest of admission's 4,000
FRAME_MODULES = ("json", "re")

_FRAME = '''
PARTS = (@PARTS@,)
ROOM = @ROOM@


def draw_problem(rng, part, level):
    """One problem of a part, at the highest level up to `level` whose text has room in the prompt."""
    generate, render, reference, top = PARTS[part]
    for lower in range(min(level, top), -1, -1):
        public = json.loads(json.dumps(generate(rng, lower)[0]))
        if len(render(public)) <= ROOM:
            break
    return public


def solve_problem(part, public):
    return int(PARTS[part][2](public, {}))


def list_problems(shown):
    """The texts of (part, public) pairs, numbered from 1."""
    texts = [f"Problem {number}:\\n{PARTS[part][1](public)}" for number, (part, public) in enumerate(shown, 1)]
    return "\\n\\n".join(texts) + "\\n\\n"


class @NAME@:
    """@SUMMARY@"""

    family = "compute"
    answer_type = "@TYPE@"
    answer_format = "@FORMAT@"
    max_level = @MAX_LEVEL@
'''

_VERIFY = """
    def verify(self, public, answer, reference):
        parts = re.split(r"[\\s,]+", answer.strip(" []()"))
        if not all(re.fullmatch(r"[+-]?[0-9]{1,4000}", part) for part in parts):
            return 0.0
        return 1.0 if [int(part) for part in parts] == [int(part) for part in reference.split()] else 0.0
"""


@dataclass(frozen=True)
class Operator:
    """How an operator looks in a composite's source.

    `most_problems`: how many problems one prompt may hold, by the number of parents. `variants`: the ways to fill in the rule,
    which consecutive seeds of `compose` go round. `max_level`: its own, where the level is not the parents'; None: the lowest
    of theirs.
    """

    methods: str
    summary: str
    answer_type: AnswerType
    answer_format: str
    most_problems: Callable[[int], int]
    order_matters: bool
    variants: tuple[dict[str, str], ...]
    max_level: int | None = None

    def source(self, words: dict[str, str], parents: int) -> str:
        """The operator's own source with `words` filled in (words not given stay as they are)."""
        text = _FRAME + self.methods + _VERIFY
        problems = self.most_problems(parents)
        known = {"SUMMARY": self.summary, "TYPE": str(self.answer_type), "FORMAT": self.answer_format}
        known |= {"ROOM": str(PROMPT_CHARACTERS // problems), "PROBLEMS": str(problems)}
        for word, value in (known | words).items():
            text = text.replace(f"@{word}@", value)
        return text


_STEPS = (
    {"TEXT": "{factor} * RESULT + ANSWER", "VALUE": "factor * result + answer"},
    {"TEXT": "RESULT + {factor} * ANSWER", "VALUE": "result + factor * answer"},
)

OPERATOR_TABLE: dict[str, Operator] = {
    "chained": Operator(
        CHAINED,
        "The result so far decides which problem comes next; every answer on the way enters the result.",
        AnswerType.INT,
        "one integer",
        most_problems=lambda parents: 2 * parents - 1,
        order_matters=True,
        variants=_STEPS,
    ),
    "parallel": Operator(
        PARALLEL,
        "Solve every problem and give all answers.",
        AnswerType.INTS,
        "the answers, separated by spaces",
        most_problems=lambda parents: parents,
        order_matters=True,
        variants=(
            {"FIRST": "1", "LAST": "{len(PARTS)}", "ANSWERS": "answers"},
            {"FIRST": "{len(PARTS)}", "LAST": "1", "ANSWERS": "reversed(answers)"},
        ),
    ),
    "summed": Operator(
        SUMMED,
        "Solve every problem and combine the answers in one weighted sum.",
        AnswerType.INT,
        "one integer",
        most_problems=lambda parents: parents,
        order_matters=False,
        variants=({},),
    ),
    "select": Operator(
        SELECT,
        "Solve every problem and give the answer that a rule over all answers selects.",
        AnswerType.INT,
        "one integer",
        most_problems=lambda parents: 6,
        order_matters=False,
        variants=(
            {
                "WHICH": "place",
                "DRAWN": "rng.randint(1, len(problems))",
                "TEXT": "Sort the problems by KEY, the smallest first; of equal ones, the lower problem number comes first.",
                "TAKEN": "the problem in place {which}",
                "SORT_KEY": "keys[place]",
                "INDEX": "which - 1",
            },
            {
                "WHICH": "target",
                "DRAWN": "rng.randint(1, modulus - 1 if modulus else 12)",
                "TEXT": "Find the problem whose KEY is nearest to {which}, above or below; "
                "of equally near ones, take the one with the lower problem number.",
                "TAKEN": "that problem",
                "SORT_KEY": "abs(keys[place] - which)",
                "INDEX": "0",
            },
        ),
    ),
    "sort": Operator(
        SORT,
        "Solve every problem and give all answers in an order that they decide.",
        AnswerType.INTS,
        "the answers in this order, separated by spaces",
        most_problems=lambda parents: 6,
        order_matters=False,
        variants=({"FIRST": "smallest", "SORT_KEY": "keys[place]"}, {"FIRST": "largest", "SORT_KEY": "-keys[place]"}),
    ),
    "horizon": Operator(
        HORIZON,
        "A chain that grows by a link with each level: the result so far decides which of two problems is its next input.",
        AnswerType.INT,
        "one integer",
        most_problems=lambda parents: 16,  # of 11 links, 5 with two
        order_matters=True,
        variants=_STEPS,
        max_level=9,
    ),
}
OPERATORS: tuple[str, ...] = tuple(OPERATOR_TABLE)

"""The operators, as the text of the class that a composite puts on top of its parents.

The texts are environment source: they keep the contract's rules and are never run here. Words between @ are filled in.
Every operator shows its parents' problems in full, numbered, and states its rule after them; from level 2 up the rules of
`chained` and `summed` reduce modulo a number drawn for the instance, so that the answers spread evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

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

_CHAINED = """
    def generate(self, rng, level):
        first = draw_problem(rng, 0, max(0, level - 1))
        links = []
        for part in range(1, len(PARTS)):
            inner = max(0, level - 1 + part % 2)
            choices = [draw_problem(rng, part, inner) for _ in range(2 if level > 1 else 1)]
            links.append({"choices": choices, "factor": rng.randint(2, 9) if level > 1 else 1})
        return {"first": first, "links": links, "modulus": rng.randint(100, 999) if level > 1 else 0}, {}

    def render(self, public):
        modulus = public["modulus"]
        reduced = f", reduced modulo {modulus} to 0..{modulus - 1}" if modulus else ""
        shown, steps = [(0, public["first"])], [f"Let RESULT be the answer to problem 1{reduced}."]
        for part, link in enumerate(public["links"], 1):
            number, factor = len(shown) + 1, link["factor"]
            if len(link["choices"]) == 2:
                steps.append(f"If RESULT is even, solve problem {number}, else problem {number + 1}.")
            else:
                steps.append(f"Solve problem {number}.")
            value = f"@TEXT@{reduced}" if modulus else "RESULT + ANSWER"
            steps.append(f"Let ANSWER be its answer, and replace RESULT by {value}.")
            shown += [(part, choice) for choice in link["choices"]]
        return list_problems(shown) + "\\n".join(steps) + "\\nWhat is RESULT at the end?"

    def reference(self, public, private):
        modulus = public["modulus"]
        result = solve_problem(0, public["first"])
        for part, link in enumerate(public["links"], 1):
            result = result % modulus if modulus else result
            choices, factor = link["choices"], link["factor"]
            answer = solve_problem(part, choices[result % len(choices)])
            result = @VALUE@
        return str(result % modulus if modulus else result)
"""

_PARALLEL = """
    def generate(self, rng, level):
        return {"problems": [draw_problem(rng, part, max(0, level - 1 + part % 2)) for part in range(len(PARTS))]}, {}

    def render(self, public):
        problems = list_problems(list(enumerate(public["problems"])))
        return problems + f"What are the answers to problems @FIRST@ to @LAST@, in this order?"

    def reference(self, public, private):
        answers = [str(solve_problem(part, problem)) for part, problem in enumerate(public["problems"])]
        return " ".join(@ANSWERS@)
"""

_SUMMED = """
    def generate(self, rng, level):
        problems = [draw_problem(rng, part, max(0, level - 1 + part % 2)) for part in range(len(PARTS))]
        factors = [rng.randint(2, 9) if level > 1 else 1 for _ in PARTS]
        return {"problems": problems, "factors": factors, "modulus": rng.randint(100, 999) if level > 1 else 0}, {}

    def render(self, public):
        modulus = public["modulus"]
        names = [f"ANSWER{number}" for number in range(1, len(PARTS) + 1)]
        terms = [f"{factor} * {name}" if modulus else name for factor, name in zip(public["factors"], names, strict=True)]
        total = " + ".join(terms)
        if modulus:
            total = f"({total}) modulo {modulus}, from 0 to {modulus - 1}"
        problems = list_problems(list(enumerate(public["problems"])))
        return problems + f"Let {', '.join(names)} be the answers to problems 1 to {len(PARTS)}.\\nWhat is {total}?"

    def reference(self, public, private):
        answers = [solve_problem(part, problem) for part, problem in enumerate(public["problems"])]
        total = sum(factor * answer for factor, answer in zip(public["factors"], answers, strict=True))
        return str(total % public["modulus"] if public["modulus"] else total)
"""


@dataclass(frozen=True)
class Operator:
    """How an operator looks in a composite's source.

    `problems_per_parent`: how many problems of each parent after the first one prompt can hold.
    `variants`: the ways to fill in the rule, which consecutive seeds of `compose` go round.
    """

    methods: str
    summary: str
    answer_type: AnswerType
    answer_format: str
    problems_per_parent: int
    order_matters: bool
    variants: tuple[dict[str, str], ...]

    def room(self, parents: int) -> int:
        """Characters that one problem may take in the prompt."""
        return PROMPT_CHARACTERS // (1 + self.problems_per_parent * (parents - 1))

    def source(self, words: dict[str, str]) -> str:
        """The operator's own source with `words` filled in (words not given stay as they are)."""
        text = _FRAME + self.methods + _VERIFY
        known = {"SUMMARY": self.summary, "TYPE": str(self.answer_type), "FORMAT": self.answer_format}
        for word, value in (known | words).items():
            text = text.replace(f"@{word}@", value)
        return text


OPERATOR_TABLE: dict[str, Operator] = {
    "chained": Operator(
        _CHAINED,
        "The result so far decides which problem comes next; every answer on the way enters the result.",
        AnswerType.INT,
        "one integer",
        problems_per_parent=2,
        order_matters=True,
        variants=(
            {"TEXT": "{factor} * RESULT + ANSWER", "VALUE": "factor * result + answer"},
            {"TEXT": "RESULT + {factor} * ANSWER", "VALUE": "result + factor * answer"},
        ),
    ),
    "parallel": Operator(
        _PARALLEL,
        "Solve every problem and give all answers.",
        AnswerType.INTS,
        "the answers, separated by spaces",
        problems_per_parent=1,
        order_matters=True,
        variants=(
            {"FIRST": "1", "LAST": "{len(PARTS)}", "ANSWERS": "answers"},
            {"FIRST": "{len(PARTS)}", "LAST": "1", "ANSWERS": "reversed(answers)"},
        ),
    ),
    "summed": Operator(
        _SUMMED,
        "Solve every problem and combine the answers in one weighted sum.",
        AnswerType.INT,
        "one integer",
        problems_per_parent=1,
        order_matters=False,
        variants=({},),
    ),
}
OPERATORS: tuple[str, ...] = tuple(OPERATOR_TABLE)

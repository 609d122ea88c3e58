"""The rules of the operators: the methods of the class that a composite puts on top of its parents, as text.

The texts are environment source: they keep the contract's rules and are never run here; words between @ are filled in and
what they call stands in the frame (`operators`). Every rule shows its parents' problems in full, numbered, and is stated
after them. From level 2 up it reduces modulo a number drawn for the instance, so that answers of any size spread evenly and
none can be told from its size.

Left out: putting a result into the text of the next problem. Which numbers of a problem may take which values (sizes, ends of
roads, moduli) only its own `generate` knows, so a result can soundly do no more than choose among whole problems that were
drawn (`chained`, `horizon`). Left out of SORT: the problems' numbers as the answer, a coin's toss where there are two.
"""

CHAINED = """
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

PARALLEL = """
    def generate(self, rng, level):
        return {"problems": [draw_problem(rng, part, max(0, level - 1 + part % 2)) for part in range(len(PARTS))]}, {}

    def render(self, public):
        problems = list_problems(list(enumerate(public["problems"])))
        return problems + f"What are the answers to problems @FIRST@ to @LAST@, in this order?"

    def reference(self, public, private):
        answers = [str(solve_problem(part, problem)) for part, problem in enumerate(public["problems"])]
        return " ".join(@ANSWERS@)
"""

SUMMED = """
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

# Several problems of each parent, and a KEY by which they are put in order: what SELECT and SORT share.
_ORDERED = """
    def draw_problems(self, rng, level):
        count = min(@PROBLEMS@, len(PARTS) + (level + 1) // 2)
        problems = [draw_problem(rng, place % len(PARTS), level) for place in range(count)]
        while len(problems) > len(PARTS) and len(self.list_all(problems)) > @PROBLEMS@ * ROOM:
            problems.pop()
        return problems

    def list_all(self, problems):
        return list_problems([(place % len(PARTS), problem) for place, problem in enumerate(problems)])

    def describe_key(self, modulus):
        reduced = f", reduced modulo {modulus} to 0..{modulus - 1}" if modulus else ""
        return f"Let the KEY of a problem be its answer{reduced}.\\n"

    def solve_all(self, public):
        answers = [solve_problem(place % len(PARTS), problem) for place, problem in enumerate(public["problems"])]
        modulus = public["modulus"]
        return answers, [answer % modulus if modulus else answer for answer in answers]
"""

SELECT = (
    """
    def generate(self, rng, level):
        problems = self.draw_problems(rng, level)
        modulus = rng.randint(20, 99) if level > 1 else 0
        return {"problems": problems, "modulus": modulus, "@WHICH@": @DRAWN@}, {}

    def render(self, public):
        which = public["@WHICH@"]
        text = self.list_all(public["problems"]) + self.describe_key(public["modulus"])
        return text + f"@TEXT@\\nWhat is the answer (not the KEY) of @TAKEN@?"

    def reference(self, public, private):
        answers, keys = self.solve_all(public)
        which = public["@WHICH@"]
        order = sorted(range(len(keys)), key=lambda place: (@SORT_KEY@, place))
        return str(answers[order[@INDEX@]])
"""
    + _ORDERED
)

SORT = (
    """
    def generate(self, rng, level):
        return {"problems": self.draw_problems(rng, level), "modulus": rng.randint(20, 99) if level > 1 else 0}, {}

    def render(self, public):
        problems = public["problems"]
        return (
            self.list_all(problems) + self.describe_key(public["modulus"])
            + "Sort the problems by KEY, the @FIRST@ first; of equal ones, the lower problem number comes first."
            + f"\\nWhat are the answers (not the KEYs) of all {len(problems)} problems in this order?"
        )

    def reference(self, public, private):
        answers, keys = self.solve_all(public)
        order = sorted(range(len(keys)), key=lambda place: (@SORT_KEY@, place))
        return " ".join(str(answers[place]) for place in order)
"""
    + _ORDERED
)

# The number of links is the level, so the room for one problem and what it shows do not shrink as they grow in number. The
# modulus is prime: under one that a power of the factor divides, the first answers would drop out of a long chain.
HORIZON = """
    def generate(self, rng, level):
        count = min(11, len(PARTS) + level)
        links = []
        for place in range(count):
            choices = 2 if level > 1 and place % 2 else 1
            links.append([draw_problem(rng, place % len(PARTS), level // 3) for _ in range(choices)])
        while len(links) > len(PARTS) and len(list_problems(self.number_all(links))) > @PROBLEMS@ * ROOM:
            links.pop()
        modulus = rng.choice((101, 211, 307, 401, 503, 601, 701, 809, 907, 997)) if level > 1 else 0
        return {"links": links, "factor": rng.randint(2, 9) if modulus else 1, "modulus": modulus}, {}

    def number_all(self, links):
        return [(place % len(PARTS), problem) for place, link in enumerate(links) for problem in link]

    def render(self, public):
        links, factor, modulus = public["links"], public["factor"], public["modulus"]
        shown = self.number_all(links)
        reduced = f", reduced modulo {modulus} to 0..{modulus - 1}" if modulus else ""
        value = f"@TEXT@{reduced}" if modulus else "RESULT + ANSWER"
        numbers = iter(range(1, len(shown) + 1))
        order = ", ".join(" or ".join(str(next(numbers)) for _ in link) for link in links)
        text = f"Solve problems in this order: {order}.\\n"
        if len(shown) > len(links):
            text += "Of two, solve only one: the first if RESULT is even at that time, the second if it is odd.\\n"
        return (
            list_problems(shown) + text + f"RESULT starts as the answer to problem 1{reduced}. After every further problem "
            + f"that you solve, let ANSWER be its answer, and replace RESULT by {value}.\\nWhat is RESULT at the end?"
        )

    def reference(self, public, private):
        factor, modulus = public["factor"], public["modulus"]
        result = 0
        for place, link in enumerate(public["links"]):
            answer = solve_problem(place % len(PARTS), link[result % len(link)])
            result = @VALUE@ if place else answer
            result = result % modulus if modulus else result
        return str(result)
"""

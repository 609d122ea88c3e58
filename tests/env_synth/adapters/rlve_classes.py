"""Small classes in RLVE's shape, written for these tests; the last three show why a class is refused.

`Gym` is not installed and never imported: the rewrite reads syntax only.
"""

BRIDGES = '''
import random
from typing import Optional, List
from Gym.environment import VerifiableEnvironment


class Bridges_Environment(VerifiableEnvironment):
    prompt_template = r"""You walk along a river with {N} bridges, numbered from 1. Crossing bridge i costs c_i coins.
The costs, in order: {costs}
Start before bridge 1 and end after bridge {N}. From bridge i you may step on to bridge i + 1 or jump to bridge i + 2; every
bridge you stand on costs its coins, and you must stand on bridge {N}. You start by stepping on bridge 1 or bridge 2.
**Output Format:** the smallest number of coins, as a single integer."""

    def __init__(self, wrong_format: float = -1.0, correct_answer: float = +1.0, wrong_answer: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.rewards = {"wrong_format": wrong_format, "correct_answer": correct_answer, "wrong_answer": wrong_answer}

    def _generate(self) -> None:
        assert "N" in self.parameter, "N is required in parameter"
        N = self.parameter["N"]
        costs = []
        for i in range(N):
            costs.append(random.randint(1, 50 + 10 * N))
        self.parameter["costs"] = costs
        best = [0, costs[0]]
        for i in range(1, N):
            best.append(costs[i] + min(best[i], best[i - 1]))
        self.parameter["reference_answer"] = best[N]

    def _prompt_generate(self) -> str:
        return self.prompt_template.format(N=self.parameter["N"], costs=" ".join(map(str, self.parameter["costs"])))

    def _process(self, answer: Optional[str]) -> Optional[int]:
        if answer is not None:
            try:
                return int(answer.strip())
            except ValueError:
                return None
        return None

    def scorer(self, output: str) -> float:
        processed_result = self.processor(output)
        if processed_result is not None:
            if processed_result == self.parameter["reference_answer"]:
                return self.rewards["correct_answer"]
            return self.rewards["wrong_answer"]
        return self.rewards["wrong_format"]


class Bridges_ParameterController:
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.N = 3

    def update(self) -> None:
        self.N = int(self.N * 1.4 + 1)

    def get_parameter_list(self):
        return [dict(N=self.N)]
'''

ZERO_SUM = '''
from random import randint, shuffle, sample
from typing import Optional, List
from Gym.environment import VerifiableEnvironment


class ZeroSum_Environment(VerifiableEnvironment):
    prompt_template = r"""You are given {N} integers, at places 0 to {last}: {numbers}
Choose at least one of them so that the chosen ones add up to exactly 0.
**Output Format:** the places of the chosen numbers, separated by spaces, each place once, in any order."""

    def __init__(self, wrong_format: float = -1.0, invalid: float = -0.5, **kwargs):
        super().__init__(**kwargs)
        self.rewards = {"wrong_format": wrong_format, "invalid": invalid}

    def _generate(self) -> None:
        N = self.parameter["N"]
        bound = 4**N
        numbers = [randint(1, bound) * (1 if randint(0, 1) else -1) for _ in range(N - 1)]
        chosen = sample(range(N - 1), max(1, N // 2))
        numbers.append(-sum(numbers[i] for i in chosen))
        order = list(range(N))
        shuffle(order)
        self.parameter["numbers"] = [numbers[i] for i in order]
        planted = [order.index(i) for i in chosen + [N - 1]]
        self.parameter["reference_answer"] = " ".join(map(str, sorted(planted)))

    def _prompt_generate(self) -> str:
        numbers = self.parameter["numbers"]
        return self.prompt_template.format(N=len(numbers), last=len(numbers) - 1, numbers=" ".join(map(str, numbers)))

    def _process(self, answer: Optional[str]) -> Optional[List]:
        if answer is None:
            return None
        try:
            return list(map(int, answer.strip().split()))
        except ValueError:
            return None

    def scorer(self, output: str) -> float:
        places = self.processor(output)
        if places is None or not places:
            return self.rewards["wrong_format"]
        if len(set(places)) != len(places) or not all(0 <= i < len(self.parameter["numbers"]) for i in places):
            return self.rewards["invalid"]
        return +1.0 if sum(self.parameter["numbers"][i] for i in places) == 0 else 0.0
'''

MATRIX_TRACE = '''
import random
from typing import Optional
from Gym.environment import VerifiableEnvironment


class MatrixTrace_Environment(VerifiableEnvironment):
    prompt_template = r"""Here is a square matrix A with {N} rows:
{rows}
Give the trace (the sum of the diagonal) of A raised to the power {K}, modulo {modulo}.
**Output Format:** a single integer."""

    def __init__(self, modulo: int = 997, **kwargs):
        super().__init__(**kwargs)
        self.modulo = modulo

    def _generate(self) -> None:
        N = self.parameter["N"]
        K = self.parameter["K"] = random.randint(2, self.parameter["MAX_K"])

        def multiply(A, B):
            return [[sum(A[i][k] * B[k][j] for k in range(N)) % self.modulo for j in range(N)] for i in range(N)]

        A = self.parameter["A"] = [[random.randint(0, self.modulo - 1) for j in range(N)] for i in range(N)]
        power = A
        for _ in range(K - 1):
            power = multiply(power, A)
        self.parameter["gold_answer"] = sum(power[i][i] for i in range(N)) % self.modulo
        self.parameter["reference_answer"] = "{}".format(self.parameter["gold_answer"])

    def _prompt_generate(self) -> str:
        return self.prompt_template.format(
            N=self.parameter["N"],
            rows="\\n".join(" ".join(map(str, row)) for row in self.parameter["A"]),
            K=self.parameter["K"],
            modulo=self.modulo,
        )

    def _process(self, answer: Optional[str]) -> Optional[int]:
        return int(answer.strip()) if answer is not None else None

    def scorer(self, output: str) -> float:
        return 1.0 if self.processor(output) == self.parameter["gold_answer"] else 0.0
'''

MATRIX_TRACE_CONTROLLER = """
class MatrixTrace_ParameterController:
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.N = 2
        self.MAX_K = 3

    def update(self) -> None:
        self.MAX_K = int(self.MAX_K * 1.5 + 1)
        self.N = min(self.N + 1, 7)

    def get_parameter_list(self):
        return [dict(N=self.N, MAX_K=self.MAX_K)]
"""

# The answer is drawn and judged in one loop: no cut parts the two.
RETRY_LOOP = BRIDGES.replace(
    """        self.parameter["costs"] = costs
""",
    """        self.parameter["costs"] = costs
        while True:
            self.parameter["reference_answer"] = sum(costs) - random.randint(0, 3)
            if self.parameter["reference_answer"] % 2:
                break
""",
).replace(
    """        self.parameter["reference_answer"] = best[N]
""",
    "",
)

# The solving part needs what was drawn and thrown away.
HIDDEN_DRAW = BRIDGES.replace("        best = [0, costs[0]]\n", "").replace(
    "        costs = []\n", "        costs = []\n        best = [random.randint(0, 9), 5]\n"
)

NUMPY = BRIDGES.replace("import random\n", "import random\nimport numpy as np\n", 1)

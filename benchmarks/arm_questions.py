"""The public data of the arm of questions: 480 short questions of reasoning-gym as JSONL, the same ones at every call.

Command: python benchmarks/arm_questions.py FILE.jsonl, by any Python that has reasoning-gym 0.1.25, which is no dependency of
ours. Left out: questions that a model of 135M parameters never solves, which teach it nothing in a run of minutes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

QUESTIONS_OF_EACH = 80
SEED = 20261129
DATASETS: dict[str, dict[str, Any]] = {
    "chain_sum": {"min_terms": 2, "max_terms": 2, "min_digits": 2, "max_digits": 3},
    "lcm": {"min_value": 2, "max_value": 20},
    "gcd": {"min_value": 2, "max_value": 40},
    "letter_counting": {"min_words": 3, "max_words": 5},
    "count_primes": {"min_n": 1, "max_n": 40},
    "spell_backward": {"min_word_len": 3, "max_word_len": 5},
}


def main() -> int:
    """Writes the file."""
    if len(sys.argv) != 2:
        print("error: one argument is needed, the file to write", file=sys.stderr)
        return 2
    import reasoning_gym

    lines: list[str] = []
    for name, settings in DATASETS.items():
        dataset = reasoning_gym.create_dataset(name, seed=SEED, size=4 * QUESTIONS_OF_EACH, **settings)
        found = [json.dumps({"question": item["question"], "answer": item["answer"]}) for item in dataset]
        lines += list(dict.fromkeys(found))[:QUESTIONS_OF_EACH]
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} questions of reasoning-gym in {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What the prompt states in numbers and nothing uses is refused; sizes, names and rules that bind at times are let off."""

from collections.abc import Callable

import pytest

from env_synth.admission.records import Outcome, StageResult

type LastStage = Callable[[str, str], StageResult]
type Read = Callable[[str], str]

SHOP = """
class Shop:
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 6

    def generate(self, rng, level):
        prices = [rng.randint(10, 99) for _ in range(4 + 2 * level)]
        return {{"prices": prices, "extra": {extra}}}, {{}}

    def render(self, public):
        return f"Prices: {{public['prices']}}. A number to keep in mind: {{public['extra']}}. What do the prices add up to?"

    def reference(self, public, private):
        total = sum(price * place for place, price in enumerate(public["prices"], 1))
        return str({result})

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
"""


@pytest.mark.parametrize(
    ("extra", "result", "outcome"),
    [
        ("rng.randint(100, 999)", "total", Outcome.REFUSED),
        ("[rng.randint(100, 999), rng.randint(100, 999)]", "total", Outcome.REFUSED),
        ("rng.randint(100, 999)", "total + public['extra']", Outcome.PASSED),
        ("rng.randint(100, 999)", "total + (public['extra'] % 7 == 0)", Outcome.PASSED),  # decides one instance in seven
        ("len(prices) + rng.randint(0, 3)", "total", Outcome.PASSED),  # as the number of nodes, some without an edge
        ("sum(prices)", "total", Outcome.PASSED),
        ("level", "total", Outcome.PASSED),  # cannot be exchanged: the same in all
        ("rng.choice(['apples', 'pears', 'plums'])", "total", Outcome.PASSED),
    ],
)
def test_a_stated_number_must_matter(extra: str, result: str, outcome: Outcome, last_stage: LastStage) -> None:
    found = last_stage(SHOP.format(extra=extra, result=result), "S3")
    assert found.outcome is outcome, found
    if outcome is Outcome.REFUSED:
        assert (found.reason, found.evidence["key"]) == ("ignored_input", "extra")


def test_a_certificate_must_check_what_it_states(read: Read, last_stage: LastStage) -> None:
    source = read("clean/sum_grid")
    forgets = source.replace('if [sum(row) for row in rows] != public["rows"]:', "if False:")
    assert forgets != source
    result = last_stage(forgets, "S3")
    assert (result.outcome, result.reason, result.evidence["key"]) == (Outcome.REFUSED, "ignored_input", "rows")
    assert last_stage(source, "S3").outcome is Outcome.PASSED

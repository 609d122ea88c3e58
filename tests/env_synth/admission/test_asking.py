"""Tests of env_synth/admission/asking.py."""

import pytest

from env_synth.admission.asking import Ask, Asking, AskVectors, Lent, run_alone, run_together
from env_synth.errors import SolverError
from env_synth.solver.protocol import Reply
from tests.env_synth.scripted_double import EmbedderDouble, ScriptedDouble


def counting(rounds: int, prompt: str) -> Asking[list[str]]:
    """Asks once a round and returns what it was told."""
    told: list[str] = []
    for number in range(rounds):
        ((reply,),) = yield Ask((f"{prompt}{number}",), 1, 5, 1.0, 0)
        told.append(reply.text)
    return told


class EchoDouble(ScriptedDouble):
    def _reply(self, prompt: str, place: int, seed: int) -> Reply:
        return Reply(f"{prompt}/{place}")


def test_jobs_share_calls_and_get_their_own_replies() -> None:
    solver = EchoDouble()
    found = list(run_together([counting(2, "a"), counting(0, "b"), counting(3, "c")], Lent(solver)))
    assert found == [(1, []), (0, ["a0/0", "a1/0"]), (2, ["c0/0", "c1/0", "c2/0"])]
    assert [len(kinds) for kinds, _, _ in solver.calls] == [2, 2, 1]


def test_different_settings_are_different_calls() -> None:
    def asking(n: int) -> Asking[int]:
        ((*replies,),) = yield Ask(("p",), n, 5, 1.0, 0)
        return len(replies)

    solver = EchoDouble()
    assert dict(run_together([asking(1), asking(2), asking(1)], Lent(solver))) == {0: 1, 1: 2, 2: 1}
    assert [(len(kinds), n) for kinds, n, _ in solver.calls] == [(2, 1), (1, 2)]


def test_vectors_go_to_the_embedder() -> None:
    def asking() -> Asking[int]:
        vectors = yield AskVectors(("one", "two"))
        return len(vectors)

    embedder = EmbedderDouble()
    assert run_alone(asking(), Lent(EchoDouble(), embedder=embedder)) == 2
    assert embedder.texts == 2


def test_what_cannot_be_written_down_is_replaced() -> None:
    class OddDouble(ScriptedDouble):
        def _reply(self, prompt: str, place: int, seed: int) -> Reply:
            return Reply("a\ud800")

    (text,) = run_alone(counting(1, "x"), Lent(OddDouble()))
    assert text.encode()


def test_a_solver_that_breaks_its_protocol_is_named() -> None:
    class ShortDouble(ScriptedDouble):
        def replies(self, *arguments: object, **named: object) -> list[list[Reply]]:
            return []

    with pytest.raises(SolverError, match="scripted double: 1 prompts were asked, 0 answered"):
        run_alone(counting(1, "x"), Lent(ShortDouble()))


def test_a_failure_ends_all_jobs() -> None:
    ended: list[str] = []

    class DeadDouble(ScriptedDouble):
        def replies(self, *arguments: object, **named: object) -> list[list[Reply]]:
            raise SolverError("gone")

    def tidy(name: str) -> Asking[None]:
        try:
            yield Ask(("p",), 1, 5, 1.0, 0)
        finally:
            ended.append(name)

    with pytest.raises(SolverError, match="gone"):
        list(run_together([tidy("a"), tidy("b")], Lent(DeadDouble())))
    assert sorted(ended) == ["a", "b"]

"""Tests of env_synth/environment.py."""

import dataclasses
import os
import signal

import pytest

from env_synth.config import SandboxConfig
from env_synth.contract import Failure, FailureClass, Instance, Split
from env_synth.environment import open_environment
from env_synth.instances import draw_instances, instance_seed
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import seed_sources

CERTIFICATE = '''
class Factor:
    """Finds a factor."""
    family = "certificate"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 5

    def generate(self, rng, level):
        a, b = rng.randint(2, 10 + level), rng.randint(2, 10 + level)
        return {"product": a * b}, {"a": a}

    def render(self, public):
        return f"Name a divisor of {public['product']} that is neither 1 nor the number itself, please."

    def reference(self, public, private):
        return str(private["a"])

    def verify(self, public, answer, reference):
        if reference is not None:
            raise ValueError("saw the witness")
        if answer == "hang":
            while True:
                pass
        if answer == "exit":
            raise SystemExit
        if len(answer) > 10000 or answer != answer.strip():
            raise ValueError("untidy")
        public["product"] += 0
        if not (answer.isascii() and answer.isdigit() and len(answer) < 20):
            return 0.0
        return 1.0 if 1 < int(answer) < public["product"] and public["product"] % int(answer) == 0 else 0.0
'''
COMPUTE = '''
class Peek:
    """Returns what it should not keep."""
    family = "compute"
    answer_type = "text"
    answer_format = "a word"
    max_level = 4

    def generate(self, rng, level):
        return {"n": [rng.randrange(1000)]}, {"secret": 1}

    def render(self, public):
        return "Say whether anything is hidden in this problem, number " + str(public["n"][0])

    def reference(self, public, private):
        return repr(private)

    def verify(self, public, answer, reference):
        public["n"].append(1)
        return 1.0 if answer == reference and len(public["n"]) == 2 else 0.0
'''


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(verify_timeout_s=0.2)) as running:
        yield running


def test_private_is_empty_for_compute_whatever_was_returned(sandbox):
    with open_environment(sandbox, COMPUTE) as environment:
        instance = environment.make_instance(Split.TRAIN, 0, 0)
        assert isinstance(instance, Instance)
        assert instance.private == {}
        assert instance.reference_answer == "{}"
        assert [score.value for score in environment.verify_many(instance, ["{}"] * 5)] == [1.0] * 5


def test_a_certificate_never_shows_its_witness_to_verify(sandbox):
    with open_environment(sandbox, CERTIFICATE) as environment:
        instance = environment.make_instance(Split.TRAIN, 3, 2)
        assert instance.private["a"] == int(instance.reference_answer)
        answers = [instance.reference_answer, " " + instance.reference_answer + "\n", "1", "9" * 20_000, "\ud800", "", "\0"]
        assert [score.value for score in environment.verify_many(instance, answers)] == [1.0, 1.0, 0, 0, 0, 0, 0]
        assert all(score.valid for score in environment.verify_many(instance, answers))


def test_one_bad_answer_does_not_spoil_the_batch(sandbox):
    with open_environment(sandbox, CERTIFICATE) as environment:
        instance = environment.make_instance(Split.TRAIN, 3, 2)
        good = instance.reference_answer
        scores = environment.verify_many(instance, [good, "hang", good, "exit", good])
        assert [score.valid for score in scores] == [True, False, True, False, True]
        assert scores[1].failure.failure_class is FailureClass.TIMEOUT
        assert scores[3].failure.failure_class is FailureClass.EXIT
        assert environment.verify_many(instance, []) == []


def test_a_host_fault_is_retried_on_a_fresh_worker(sandbox):
    with open_environment(sandbox, CERTIFICATE) as environment:
        instance = environment.make_instance(Split.TRAIN, 3, 2)
        os.kill(environment._worker.process.pid, signal.SIGKILL)
        assert environment.verify(instance, instance.reference_answer).value == 1.0
        environment.close()
        assert environment.verify(instance, instance.reference_answer).value == 1.0
        assert environment.cpu_s > 0


def test_a_failing_source_is_a_failure_not_an_exception(sandbox):
    assert isinstance(open_environment(sandbox, "x ="), Failure)
    source = COMPUTE.replace("rng.randrange(1000)", "1 // 0")
    with open_environment(sandbox, source) as environment:
        assert environment.make_instance(Split.TRAIN, 0, 0).failure_class is FailureClass.EXCEPTION
        assert isinstance(draw_instances(environment, Split.TRAIN, 0, 2), Failure)


def test_instances_repeat_in_another_worker_and_under_another_hash_seed(sandbox):
    source = seed_sources()["toll_shortest_path"]
    made = []
    for hash_seed in (0, 0, 1):
        with open_environment(sandbox, source, trusted=True, hash_seed=hash_seed) as environment:
            made.append([environment.make_instance(Split.TRAIN, index, 3) for index in range(4)])
            seed = instance_seed(environment.environment_id, Split.TRAIN, 0, 3)
            assert environment.generate(seed, 3)[0] == made[0][0].public
    assert made[0] == made[1] == made[2]
    assert len({instance.instance_id for instance in made[0]}) == 4
    assert dataclasses.asdict(made[0][0])["level"] == 3

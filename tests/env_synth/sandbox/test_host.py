"""Tests of env_synth/sandbox/host.py."""

import os
import re
import signal
import threading
import time
import warnings
from pathlib import Path

import pytest

from env_synth.config import SandboxConfig, SettingError
from env_synth.contract import AnswerType, Failure, FailureClass, Family
from env_synth.errors import SandboxError
from env_synth.sandbox.host import Sandbox, Tier, TierWarning, Worker
from env_synth.sandbox.launch import HANG_UP_S, Zygote
from env_synth.sandbox.lockdown import Layers

SOURCE = '''
class Sum:
    """Adds."""
    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 5

    def generate(self, rng, level):
        return {"a": rng.randrange(10 ** (level + 1)), "set": sorted({"x", "y", "zz"}, key=hash)}, {"hidden": (1, 2.5)}

    def render(self, public):
        return f"What is {public['a']} plus one?"

    def reference(self, public, private):
        return str(public["a"] + 1)

    def verify(self, public, answer, reference):
        if answer == "raise":
            raise ValueError("no")
        return 1.0 if answer == reference else 0.0
'''


def changed(before: str, after: str) -> str:
    assert before in SOURCE
    return SOURCE.replace(before, after)


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(load_timeout_s=0.3, generate_timeout_s=0.3, verify_timeout_s=0.2)) as running:
        yield running


def test_a_source_is_loaded_and_each_method_answers(sandbox):
    worker = sandbox.open(SOURCE)
    assert worker.info.class_name == "Sum"
    assert (worker.info.family, worker.info.answer_type) == (Family.COMPUTE, AnswerType.INT)
    public, private = worker.generate(7, 2)
    assert private == {"hidden": [1, 2.5]}
    assert worker.generate(7, 2)[0] == public
    assert worker.render(public) == f"What is {public['a']} plus one?"
    reference = worker.reference(public, private)
    assert reference == str(public["a"] + 1)
    assert worker.verify(public, reference, reference) == 1.0
    grades = worker.verify_batch([(public, reference, reference), (public, "no", reference), (public, "raise", "1")])
    assert grades[:2] == [1.0, 0.0]
    assert grades[2] == Failure(FailureClass.EXCEPTION, "ValueError: no")
    assert 0.0 < worker.cpu_s < 0.2


def test_the_hash_seed_is_the_callers_to_choose(sandbox):
    orders = {tuple(sandbox.open(SOURCE, hash_seed=seed).generate(1, 1)[0]["set"]) for seed in range(6)}
    assert len(orders) > 1
    assert sandbox.open(SOURCE, hash_seed=3).generate(1, 1) == sandbox.open(SOURCE, hash_seed=3).generate(1, 1)


def test_unseeded_randomness_and_memory_addresses_differ_between_workers(sandbox):
    body = "import random\n" + changed("rng.randrange(10 ** (level + 1))", "random.getrandbits(64)")
    assert sandbox.open(body).generate(1, 1) != sandbox.open(body).generate(1, 1)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1", "bad_output"),
        ("x = (", "exception"),
        ("x = 1\0", "exception"),
        ("x = '\ud800'", "bad_output"),
        (SOURCE + SOURCE.replace("class Sum", "class Other"), "bad_output"),
        (changed('"compute"', '"magic"'), "bad_output"),
        (changed('"compute"', "1"), "bad_output"),
        (changed('answer_type = "int"', 'answer_type = "float"'), "bad_output"),
        (changed('answer_type = "int"', ""), "bad_output"),
        (changed("max_level = 5", "max_level = 3"), "bad_output"),
        (changed("max_level = 5", "max_level = True"), "bad_output"),
        (changed("max_level = 5", "max_level = 10 ** 30"), "bad_output"),
        (changed("max_level = 5", "max_level = property(lambda s: 5)"), "bad_output"),
        (changed('"one integer"', '"two\\nlines"'), "bad_output"),
        (changed('"one integer"', '"\\x1b[2J"'), "bad_output"),
        (changed('"one integer"', '""'), "bad_output"),
        (changed('"one integer"', '"x" * 500'), "bad_output"),
        (SOURCE + "\nwhile True: pass", "timeout"),
        (SOURCE + "\nimport os\nos.fork()", "denied"),
        (SOURCE + "\nraise SystemExit", "exit"),
        (SOURCE + "\nimport os\nos.closerange(0, 99)\nwhile True: pass", "exit"),
        ("class M(type):\n    def __new__(m, *a):\n        while True: pass\nclass A(metaclass=M): pass", "timeout"),
        ("x = " + "(" * 5000, "exception"),
        ("x = " + "-" * 100_000 + "1", "any"),
        ("x = 'a' * 10**10", "memory"),
        ("x = 9**9**9", "timeout"),
        ("class A:\n    def __class_getitem__(c, i): 1\n    generate = render = reference = verify = 5", "bad_output"),
        ("x = [" + "0," * 10**6 + "]", "any"),
    ],
)
def test_what_goes_wrong_while_loading_has_a_class(sandbox, source, expected):
    failure = sandbox.open(source)
    assert isinstance(failure, Failure)
    assert expected in (failure.failure_class.value, "any"), failure
    assert not failure.failure_class.is_host_fault


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("{'a': 1}", "bad_output"),
        ("({'a': float('nan')}, {})", "bad_output"),
        ("({1: 2}, {})", "bad_output"),
        ("({'a': {1, 2}}, {})", "bad_output"),
        ("({'a': b'x'}, {})", "bad_output"),
        ("({'a': '\\ud800'}, {})", "bad_output"),
        ("({'a': 'x' * (2 << 20)}, {})", "bad_output"),
        ("({'a': 10 ** 5000}, {})", "exception"),
        ("({'a': type('I', (int,), {})(1)}, {})", "bad_output"),
        ("(1, 2, 3)", "bad_output"),
    ],
)
def test_only_json_values_come_out_of_generate(sandbox, result, expected):
    start = SOURCE.index('return {"a"')
    source = SOURCE[:start] + f"return {result}" + SOURCE[SOURCE.index("\n", start) :]
    failure = sandbox.open(source).generate(1, 1)
    assert isinstance(failure, Failure), failure
    assert failure.failure_class.value == expected, failure


def test_big_integers_survive(sandbox):
    source = changed('{"a": rng.randrange(10 ** (level + 1))', '{"a": 3 ** 400, "b": -(2 ** 64)')
    worker = sandbox.open(source)
    public, _ = worker.generate(1, 1)
    assert public["a"] == 3**400
    assert public["b"] == -(2**64)
    assert worker.reference(public, {}) == str(3**400 + 1)


def test_a_deep_value_is_refused_not_followed(sandbox):
    source = changed('return {"a"', 'x = 1\n        for _ in range(10**5): x = [x]\n        return {"b": x, "a"')
    assert sandbox.open(source).generate(1, 1).failure_class in (FailureClass.BAD_OUTPUT, FailureClass.CRASH)


def test_a_request_that_json_cannot_carry_is_an_answer_not_a_crash(sandbox):
    worker = sandbox.open(SOURCE)
    assert worker.verify({"a": 1}, "\ud800", "2").failure_class is FailureClass.BAD_OUTPUT
    assert worker.verify({"a": 1}, "2", "2") == 1.0


def test_steps_are_counted_and_repeatable(sandbox):
    source = changed('return str(public["a"] + 1)', "return str(sum(i for i in range(public['a'])))")
    worker = sandbox.open(source)
    small, large = (worker.count_steps("reference", [{"a": n}, {}]) for n in (10, 1000))
    assert small[0] == "45"
    assert large[1] > 50 * small[1] / 2
    assert worker.count_steps("reference", [{"a": 10}, {}]) == small
    assert sandbox.open(source).count_steps("reference", [{"a": 10}, {}]) == small


@pytest.mark.parametrize(
    ("expression", "walks"),
    [
        ("sum(range(public['a']))", 1),
        ("max(list(range(public['a'])))", 2),
        ("sorted(public['many'])[0]", 1),
        ("public['many'].count(3)", 1),
        ("len(public['many'])", 0),
        ("max(public['a'], 3)", 0),
    ],
)
def test_a_built_in_counts_seven_steps_for_each_item_that_it_walks(sandbox, expression, walks):
    worker = sandbox.open(changed('return str(public["a"] + 1)', f"return str({expression})"))
    small, large = (worker.count_steps("reference", [{"a": n, "many": [3] * n}, {}])[1] for n in (10, 1000))
    assert large - small == 990 * 7 * walks


def test_a_sum_counts_what_a_loop_over_the_list_does(sandbox):
    loop = "total = 0\n        for x in public['many']:\n            total += x\n        return str(total)"
    bodies = ("return str(sum(public['many']))", loop)
    walked, looped = (
        [
            sandbox.open(changed('return str(public["a"] + 1)', body)).count_steps("reference", [{"many": [3] * n}, {}])[1]
            for n in (10, 1000)
        ]
        for body in bodies
    )
    assert walked[1] - walked[0] == looped[1] - looped[0]


def test_counting_runs_no_code_of_the_sources_own_classes(sandbox):
    source = changed(
        'return str(public["a"] + 1)',
        "class Odd(list):\n            def __len__(self):\n                raise OSError\n        return str(sum(Odd([1, 2])))",
    )
    assert sandbox.open(source).count_steps("reference", [{"a": 1}, {}])[0] == "3"


def test_a_worker_killed_from_outside_is_the_hosts_fault(sandbox):
    worker = sandbox.open(SOURCE)
    os.kill(worker.process.pid, signal.SIGKILL)
    assert worker.verify({"a": 1}, "2", "2").failure_class.is_host_fault
    assert worker.verify({"a": 1}, "2", "2").failure_class.is_host_fault
    assert not worker.alive


def zygote_of(worker):
    """The pid of the process that forked it."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(re.search(r"^PPid:\s+(\d+)", status, re.MULTILINE).group(1))


@pytest.fixture(params=[Layers(), Layers(namespaces=False)], ids=["tier1", "tier2"])
def killed(request):
    """A worker that was killed while its zygote is stopped, and the zygote's pid."""
    with warnings.catch_warnings(action="ignore", category=TierWarning), Sandbox(SandboxConfig(), request.param) as sandbox:
        worker = sandbox.open(SOURCE)
        zygote = zygote_of(worker)
        os.kill(zygote, signal.SIGSTOP)
        os.kill(worker.process.pid, signal.SIGKILL)
        yield worker, zygote
        os.kill(zygote, signal.SIGCONT)


def test_how_a_killed_worker_ended_is_waited_for_where_its_zygote_is_slow_to_tell(killed):
    worker, zygote = killed
    alarm = threading.Timer(5 * HANG_UP_S, os.kill, (zygote, signal.SIGCONT))
    alarm.start()
    assert worker.verify({"a": 1}, "2", "2").failure_class is FailureClass.HOST_OOM
    alarm.join()


def test_a_killed_worker_whose_zygote_does_not_tell_is_not_blamed(killed, monkeypatch):
    worker, _ = killed
    monkeypatch.setattr(Zygote.wait_ended, "__defaults__", (HANG_UP_S,))
    assert worker.verify({"a": 1}, "2", "2").failure_class is FailureClass.HOST_OVERLOAD


def test_a_stopped_worker_is_not_blamed():
    config = SandboxConfig(verify_timeout_s=0.05)
    with Sandbox(config) as sandbox:
        worker = sandbox.open(SOURCE)
        os.kill(worker.process.pid, signal.SIGSTOP)
        worker.begin_verify([('{"a":1}', "2", ["2"])])
        deadline = time.monotonic() + 0.5
        while time.monotonic() < deadline:
            assert worker.advance() is None
            time.sleep(0.02)
        os.kill(worker.process.pid, signal.SIGCONT)
        assert worker._wait() == [1.0]


def test_a_dead_zygote_is_replaced():
    with Sandbox(SandboxConfig()) as sandbox:
        worker = sandbox.open(SOURCE)
        pid = worker.process.pid
        sandbox.zygote()._child.kill()
        while os.path.exists(f"/proc/{pid}"):
            time.sleep(0.01)
        assert worker.verify({"a": 1}, "2", "2").failure_class is FailureClass.HOST_OVERLOAD
        again = sandbox.open(SOURCE)
        assert isinstance(again, Worker)
        assert again.verify({"a": 1}, "2", "2") == 1.0


def test_a_sandbox_that_another_thread_stops_ends_the_call_under_way_and_runs_nothing_more():
    with Sandbox(SandboxConfig(generate_timeout_s=60.0)) as sandbox:
        worker = sandbox.open(changed("rng.randrange(10 ** (level + 1))", "[1 for _ in iter(int, 1)]"))
        started = time.monotonic()
        alarm = threading.Timer(0.3, sandbox.stop)
        alarm.start()
        with pytest.raises(SandboxError, match="was stopped"):
            worker.generate(1, 1)
        alarm.join()
        assert time.monotonic() - started < 30
        with pytest.raises(SandboxError, match="was stopped"):
            sandbox.open(SOURCE)


def test_a_closed_sandbox_starts_nothing_anew():
    with Sandbox(SandboxConfig()) as sandbox:
        worker = sandbox.open(SOURCE)
    for use in (lambda: sandbox.open(SOURCE), lambda: sandbox.zygote(3), lambda: worker.generate(1, 1)):
        with pytest.raises(SandboxError, match="was stopped"):
            use()


def test_no_descriptor_and_no_process_is_left():
    before = len(os.listdir("/proc/self/fd"))
    with Sandbox(SandboxConfig()) as sandbox:
        workers = [sandbox.open(SOURCE) for _ in range(20)]
        pids = [worker.process.pid for worker in workers]
        assert sandbox.live_workers == 20
        for worker in workers[:10]:
            worker.close()
            worker.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


@pytest.mark.parametrize("missing", ["seccomp", "landlock", "limits", "capabilities"])
def test_tier_three_refuses_model_code_and_says_what_to_do(missing):
    layers = Layers(namespaces=False, **{missing: False})
    with Sandbox(SandboxConfig(), layers) as sandbox:
        assert sandbox.tier == Tier.PLAIN
        with pytest.raises(SandboxError, match="unsafe_trust_code"):
            sandbox.open(SOURCE)
        assert sandbox.open(SOURCE, trusted=True).verify({"a": 1}, "2", "2") == 1.0
        assert sandbox.containment == "tier3"
    with Sandbox(SandboxConfig(unsafe_trust_code=True), layers) as sandbox:
        with pytest.warns(TierWarning, match="UNSAFE"):
            sandbox.open(SOURCE)
        assert sandbox.containment == "tier3-unsafe"


def test_tier_two_warns_once_and_works():
    with Sandbox(SandboxConfig(), Layers(namespaces=False)) as sandbox:
        assert sandbox.containment == "tier2"
        with pytest.warns(TierWarning, match="no namespaces"):
            first = sandbox.open(SOURCE)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            second = sandbox.open(SOURCE)
        assert first.verify({"a": 1}, "2", "2") == second.verify({"a": 1}, "2", "2") == 1.0


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="workers"):
        Sandbox(SandboxConfig(workers=0))

"""What every seed must keep: the contract, its pin, and levels that grow."""

import ast
import hashlib
import random
import re
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from env_synth import contract
from env_synth.contract import environment_id
from env_synth.instances import content_split
from env_synth.seeds import SEED_SHA256, seed_sources

NAMES = tuple(SEED_SHA256)
CERTIFICATES = ("subset_sum", "graph_colouring", "hamiltonian_path", "latin_square")


def draws(environment, make_case, level, count=64):
    return [make_case(environment, level, f"draw {level} {index}") for index in range(count)]


def grade(environment, case, answer):
    given_reference = case.reference if environment.family == "compute" else None
    value = environment.verify(case.public, answer, given_reference)
    assert type(value) is float
    assert value in (0.0, 1.0)
    return value


def test_ten_seeds_and_the_pins():
    assert len(NAMES) == 10
    sources = seed_sources()
    assert {name: environment_id(source) for name, source in sources.items()} == SEED_SHA256
    for source in sources.values():
        assert hashlib.sha256(source.encode()).hexdigest() in SEED_SHA256.values()


@pytest.mark.parametrize("name", NAMES)
def test_source_rules(name, load_seed):
    source = seed_sources()[name]
    assert len(source.encode()) <= contract.MAX_SOURCE_BYTES
    assert source.count("\n") <= contract.MAX_SOURCE_LINES
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert all(alias.name in contract.ALLOWED_MODULES for alias in node.names)
        assert not isinstance(node, ast.ImportFrom | ast.Global | ast.Nonlocal)
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
        if isinstance(node, ast.Name):
            assert not node.id.startswith("_") or node.id == "_"
    (cls,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    methods = {node.name: tuple(a.arg for a in node.args.args) for node in cls.body if isinstance(node, ast.FunctionDef)}
    assert methods == contract.METHOD_PARAMETERS
    assert ast.get_docstring(cls)
    environment = load_seed(name)
    assert environment.family == ("certificate" if name in CERTIFICATES else "compute")
    assert contract.AnswerType(environment.answer_type)
    assert environment.max_level == 9


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", range(10))
def test_instances(name, level, load_seed, make_case):
    environment, again = load_seed(name), load_seed(name)
    cases = draws(environment, make_case, level)
    for index in (0, 1, 63):
        assert make_case(again, level, f"draw {level} {index}") == cases[index]
    assert all(40 <= len(case.prompt) <= 4000 for case in cases)
    assert len({case.prompt for case in cases}) >= (52 if level >= 2 else 16)
    assert len({case.reference for case in cases}) >= (8 if level >= 2 else 3)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_are_refused(name, load_seed, make_case):
    environment = load_seed(name)
    rng = random.Random(name)
    for level in (0, 2, 4, 9):
        cases = draws(environment, make_case, level, 12)
        accepted = tried = 0
        for case, other in pairwise(cases):
            wrong = ["", " ", "nan", "inf", "None", "[]", "0 0", "1.0.0", case.prompt, environment.answer_format]
            wrong += [case.reference + " " + other.reference, case.reference + "x", "-" + case.reference + "-"]
            assert not any(grade(environment, case, answer) for answer in wrong)
            if environment.family == "compute" and case.reference != other.reference:
                assert grade(environment, case, other.reference) == 0.0
            tokens = case.reference.split()
            for _ in range(20):
                changed = list(tokens)
                place = rng.randrange(len(tokens))
                pick = rng.choice([*re.findall("[0-9]+", case.prompt), str(rng.randint(0, 9))])
                changed[place] = rng.choice([pick, str(int(changed[place]) + rng.choice((-1, 1)))])
                if [int(token) for token in changed] != [int(token) for token in tokens]:
                    tried += 1
                    accepted += grade(environment, case, " ".join(changed))
        assert accepted <= 0.02 * tried


@pytest.mark.parametrize("name", NAMES)
def test_no_prompt_token_is_the_answer_at_the_middle_level(name, load_seed, make_case):
    environment = load_seed(name)
    cases = draws(environment, make_case, environment.max_level // 2, 128)
    texts = [case.reference for case in cases]
    assert max(texts.count(text) for text in texts) <= 0.1 * len(texts)
    hits = {}
    for case in cases:
        numbers = re.findall(r"[0-9]+", case.prompt)
        for place in range(min(40, len(numbers))):
            for key in (place, -1 - place):
                hits[key] = hits.get(key, 0) + grade(environment, case, numbers[key])
    assert max(hits.values()) <= 0.1 * len(cases)


@pytest.mark.parametrize("name", CERTIFICATES)
def test_certificates_are_judged_without_the_witness(name, load_seed, make_case):
    environment = load_seed(name)
    case = make_case(environment, 3, "witness")
    for spelling in (case.reference, case.reference.replace(" ", ", "), f"[{case.reference.replace(' ', ',')}]"):
        assert environment.verify(case.public, spelling, None) == 1.0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("name", NAMES)
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.text(alphabet="0123456789 ,-[]()+.eE\u0663\uff11\ud800\x00", max_size=80),
        st.lists(st.integers(-(10**20), 10**20), max_size=12).map(lambda values: " ".join(map(str, values))),
    )
)
def test_junk_never_raises(name, text, load_seed, make_case):
    environment = load_seed(name)
    case = make_case(environment, 2, "junk")
    grade(environment, case, text)
    grade(environment, case, text * 100)


@pytest.mark.parametrize("name", NAMES)
def test_long_answers_never_raise(name, load_seed, make_case):
    environment = load_seed(name)
    case = make_case(environment, 1, "long")
    for answer in ("9" * 10_000, "1 " * 5_000, "[" * 10_000, "-" * 10_000, "1," * 5_000, "->" * 5_000):
        assert grade(environment, case, answer) == 0.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", [0, 1, 2, 4])
def test_both_splits_have_instances(name, level, load_seed, make_case):
    prompts = {case.prompt for case in draws(load_seed(name), make_case, level, 200)}
    held_out = sum(content_split(prompt) is contract.Split.HELD_OUT for prompt in prompts)
    assert 4 <= held_out <= len(prompts) // 4

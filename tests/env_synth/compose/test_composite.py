"""Tests of env_synth/compose/composite.py."""

import copy
import itertools
import json
import random

import pytest

from env_synth.admission.static import read_source
from env_synth.compose import MAX_PARENTS, OPERATORS, Composite, canonical_tuple, compose, draw_unused, is_composable
from env_synth.contract import MAX_SOURCE_BYTES, METHOD_PARAMETERS, environment_id
from env_synth.errors import ComposeError
from env_synth.seeds import seed_sources

SOURCES = seed_sources()
INT_SEEDS = tuple(name for name in SOURCES if is_composable(SOURCES[name]))
PAIRS = tuple(itertools.pairwise((*INT_SEEDS, INT_SEEDS[0])))


def load(source):
    """The environment of a source that this test made itself."""
    namespace = {"__name__": "composite"}
    exec(compile(source, "composite.py", "exec"), namespace)
    classes = [value for value in namespace.values() if isinstance(value, type)]
    (found,) = [value for value in classes if all(hasattr(value, method) for method in METHOD_PARAMETERS)]
    return found()


def parents(*names):
    return [(environment_id(SOURCES[name]), SOURCES[name]) for name in names]


def make(environment, level, seed):
    public, private = json.loads(json.dumps(environment.generate(random.Random(seed), level)))
    kept = copy.deepcopy(public)
    prompt, reference = environment.render(public), environment.reference(public, private)
    assert private == {}
    assert environment.verify(public, reference, reference) == 1.0
    assert public == kept
    return public, prompt, reference


def test_the_composable_seeds_are_the_compute_ones():
    compute = ("register_machine", "edit_distance", "toll_shortest_path", "linear_recurrence", "interval_scheduling")
    assert set(INT_SEEDS) == {*compute, "grid_paths"}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("names", PAIRS)
def test_composites_keep_the_contract(operator, names):
    composite = compose(operator, parents(*names), seed=3)
    facts, broken, _ = read_source(composite.source)
    assert broken == []
    assert facts.info.max_level == 9
    assert facts.info.answer_type == ("ints" if operator in ("parallel", "sort") else "int")
    environment = load(composite.source)
    for level, count in ((0, 12), (1, 8), (2, 12), (4, 8), (9, 2)):
        drawn = [make(environment, level, f"{level} {index}") for index in range(count)]
        assert drawn[0] == make(load(composite.source), level, f"{level} 0")
        assert all(40 <= len(prompt) <= 4000 for _, prompt, _ in drawn)
        assert len({prompt for _, prompt, _ in drawn}) >= count * 5 // 6
        assert len({reference for _, _, reference in drawn}) >= count // (2 if level >= 2 else 4)


def solver(name):
    environment = load(SOURCES[name])
    return lambda public: int(environment.reference(public, {}))


def expected_chained(variant, public, solvers):
    """The rule as the prompt words it, over the parents' own classes."""
    modulus = public["modulus"]

    def reduced(number):
        return number % modulus if modulus else number

    result = reduced(solvers[0](public["first"]))
    for solve, link in zip(solvers[1:], public["links"], strict=True):
        chosen = link["choices"][0] if len(link["choices"]) == 1 or result % 2 == 0 else link["choices"][1]
        scale = link["factor"]
        result = reduced(scale * result + solve(chosen) if variant == "result scaled" else result + scale * solve(chosen))
    return str(result)


@pytest.mark.parametrize("names", PAIRS)
def test_chained_agrees_with_the_parents(names):
    solvers = [solver(name) for name in names]
    taken = set()
    for seed in range(2):
        source = compose("chained", parents(*names), seed=seed).source
        environment = load(source)
        variant = "result scaled" if "factor * result" in source else "answer scaled"
        for level, index in itertools.product((0, 1, 2, 5), range(4)):
            public, prompt, reference = make(environment, level, index)
            assert reference == expected_chained(variant, public, solvers)
            shown = [load(SOURCES[names[0]]).render(public["first"])]
            shown += [load(SOURCES[names[1]]).render(choice) for choice in public["links"][0]["choices"]]
            assert all(f"Problem {number}:\n{text}\n" in prompt for number, text in enumerate(shown, 1))
            if public["modulus"]:
                scale = public["links"][0]["factor"]
                rule = f"{scale} * RESULT + ANSWER" if variant == "result scaled" else f"RESULT + {scale} * ANSWER"
                assert f"replace RESULT by {rule}, reduced modulo {public['modulus']} to" in prompt
                taken.add(int(solvers[0](public["first"])) % public["modulus"] % 2)
    assert taken == {0, 1}


@pytest.mark.parametrize("names", PAIRS)
def test_parallel_agrees_with_the_parents(names):
    solvers = [solver(name) for name in names]
    orders = set()
    for seed in range(2):
        environment = load(compose("parallel", parents(*names), seed=seed).source)
        for level in (0, 2, 4):
            public, prompt, reference = make(environment, level, seed)
            answers = [str(solve(problem)) for solve, problem in zip(solvers, public["problems"], strict=True)]
            order = 1 if prompt.endswith("problems 1 to 2, in this order?") else -1
            assert order == 1 or prompt.endswith("problems 2 to 1, in this order?")
            assert reference == " ".join(answers[::order])
            orders.add(order)
    assert orders == {1, -1}


@pytest.mark.parametrize("names", PAIRS)
def test_summed_agrees_with_the_parents(names):
    solvers = [solver(name) for name in sorted(names, key=lambda name: environment_id(SOURCES[name]))]
    environment = load(compose("summed", parents(*names), seed=0).source)
    for level, index in itertools.product((0, 2, 4), range(3)):
        public, prompt, reference = make(environment, level, index)
        numbers = [solve(problem) for solve, problem in zip(solvers, public["problems"], strict=True)]
        total = sum(factor * number for factor, number in zip(public["factors"], numbers, strict=True))
        assert reference == str(total % public["modulus"] if level >= 2 else sum(numbers))
        assert (f"modulo {public['modulus']}, from 0 to" in prompt) == (level >= 2)


def test_level_zero_shows_the_parents_at_level_zero():
    public, prompt, reference = make(load(compose("summed", parents("register_machine", "grid_paths"), seed=0).source), 0, 7)
    assert prompt.endswith("Let ANSWER1, ANSWER2 be the answers to problems 1 to 2.\nWhat is ANSWER1 + ANSWER2?")
    assert len(prompt) < 400
    assert int(reference) < 30
    machine = next(problem for problem in public["problems"] if "program" in problem)
    assert len(machine["program"]) == 1


def test_three_parents_and_one_parent_twice():
    for operator in OPERATORS:
        for names in (INT_SEEDS[:3], ("grid_paths", "grid_paths")):
            composite = compose(operator, parents(*names), seed=1)
            assert len(composite.parent_ids) == len(names)
            assert read_source(composite.source)[1] == []
            assert all(len(make(load(composite.source), level, 1)[1]) <= 4000 for level in (0, 3, 9))


def test_composites_of_composites():
    inner = compose("chained", parents("grid_paths", "linear_recurrence"), seed=0).source
    names = (inner, SOURCES["edit_distance"])
    for operator in OPERATORS:
        composite = compose(operator, [(environment_id(source), source) for source in names], seed=0)
        assert read_source(composite.source)[1] == []
        public, _, reference = make(load(composite.source), 3, "deep")
        if operator == "parallel":
            pairs = zip(names, public["problems"], strict=True)
            assert sorted(reference.split()) == sorted(load(source).reference(problem, {}) for source, problem in pairs)


def test_wrong_answers_to_a_composite_are_refused():
    for operator in OPERATORS:
        environment = load(compose(operator, parents("grid_paths", "edit_distance"), seed=0).source)
        public, prompt, reference = make(environment, 4, "wrong")
        for answer in (
            "",
            "x",
            prompt,
            reference + " 1",
            reference + "1",
            "-" + reference,
            "nan",
            "9" * 10_000,
            "\ud800",
            "1 " * 5000,
        ):
            value = environment.verify(public, answer, reference)
            assert type(value) is float
            assert value == 0.0


def test_the_same_arguments_give_the_same_text():
    pair = parents("edit_distance", "grid_paths")
    first, again = compose("chained", pair, seed=5), compose("chained", list(pair), seed=5)
    assert first == again
    assert first.as_proposal().environment_id == environment_id(first.source)
    assert first.as_proposal().parents == (pair[0][0], pair[1][0])
    assert (first.as_proposal().origin, first.as_proposal().operator) == ("composite", "chained")
    assert len({compose("chained", pair, seed=seed).source for seed in range(8)}) == 2
    swapped = [pair[1], pair[0]]
    assert compose("summed", pair, seed=5) == compose("summed", swapped, seed=5)
    assert compose("chained", pair, seed=5) != compose("chained", swapped, seed=5)
    assert isinstance(first, Composite)


def test_errors_name_what_is_wrong():
    pair = parents("edit_distance", "grid_paths")
    with pytest.raises(ComposeError, match="'zipped' is unknown; there are chained, parallel, summed, select, sort, horizon"):
        compose("zipped", pair, seed=0)
    with pytest.raises(ComposeError, match=f"1 parents given; give 2 to {MAX_PARENTS}"):
        compose("chained", pair[:1], seed=0)
    with pytest.raises(ComposeError, match="another id"):
        compose("chained", [pair[0], (pair[1][0], pair[0][1])], seed=0)
    with pytest.raises(ComposeError, match=r"SubsetSum.*'certificate', answer_type 'ints'.*only compute"):
        compose("chained", [pair[0], *parents("subset_sum")], seed=0)
    listing = compose("parallel", pair, seed=0).source
    with pytest.raises(ComposeError, match=r"'compute', answer_type 'ints'"):
        compose("parallel", [pair[0], (environment_id(listing), listing)], seed=0)
    large = SOURCES["grid_paths"] + "".join(f"\nNAME_{number} = {'x' * 40!r}" for number in range(200))
    large = large.replace(
        "return counts[-1]", "return counts[-1] + 0 * len(" + " + ".join(f"NAME_{n}" for n in range(200)) + ")"
    )
    assert len(large) < MAX_SOURCE_BYTES
    with pytest.raises(ComposeError, match=r"over the contract's 16384 bytes"):
        compose("chained", [(environment_id(large), large), *parents("register_machine")], seed=0)


def test_draw_unused_exhausts_every_tuple_once():
    ids = ["c", "a", "b"]
    used = []
    while (drawn := draw_unused(ids, used, random.Random(len(used)))) is not None:
        assert drawn not in used
        assert canonical_tuple(*drawn) == drawn
        used.append(drawn)
    order_counts = 3 * 6  # ordered pairs: chained, parallel, horizon
    assert len(used) == order_counts + 3 * 3  # and unordered ones: summed, select, sort
    assert draw_unused(ids, used[:4], random.Random(2)) == draw_unused(ids[::-1], set(used[:4]), random.Random(2))


def test_draw_unused_caps_the_uses_of_a_parent():
    used = [("chained", ("a", "b")), ("summed", ("b", "a"))]
    for seed in range(20):
        operator, drawn = draw_unused(["a", "b", "c", "d"], used, random.Random(seed), max_uses_per_parent=2)
        assert operator in OPERATORS
        assert sorted(drawn) == ["c", "d"]
    assert draw_unused(["a", "b", "c"], used, random.Random(0), max_uses_per_parent=2) is None
    assert draw_unused(["a"], [], random.Random(0)) is None

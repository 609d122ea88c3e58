"""Tests of env_synth/adapters/rlve.py."""

from types import ModuleType

import pytest

from env_synth.adapters import rlve
from env_synth.adapters.answer_types import answer_type_of, sampled_references
from env_synth.adapters.errors import AdapterError
from env_synth.admission.pipeline import Admission
from env_synth.admission.records import Verdict
from env_synth.config import AdmissionConfig
from env_synth.contract import AnswerType, Failure, Family, Proposal, Split, declared_info
from env_synth.environment import Environment, open_environment
from env_synth.sandbox.host import Sandbox

ZERO_SUM_LEVELS = [{"N": count} for count in (3, 5, 8, 12, 18, 26, 40)]


def opened(sandbox: Sandbox, source: str) -> Environment:
    found = open_environment(sandbox, source)
    assert isinstance(found, Environment), found
    return found


def adapted(rlve_classes: ModuleType, name: str) -> str:
    options: dict[str, object] = {}
    if name == "ZERO_SUM":
        options = {"levels": ZERO_SUM_LEVELS}
    elif name == "MATRIX_TRACE":
        options = {"controller": rlve_classes.MATRIX_TRACE_CONTROLLER}
    return rlve.adapt(getattr(rlve_classes, name), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "family", "answer_type"),
    [
        ("BRIDGES", Family.COMPUTE, AnswerType.INT),
        ("ZERO_SUM", Family.CERTIFICATE, AnswerType.INTS),
        ("MATRIX_TRACE", Family.COMPUTE, AnswerType.INT),
    ],
)
def test_a_class_becomes_a_source_that_admission_passes(
    name: str, family: Family, answer_type: AnswerType, rlve_classes: ModuleType, sandbox: Sandbox
) -> None:
    source = adapted(rlve_classes, name)
    assert declared_info(source).family is family
    references = sampled_references(sandbox, source)
    assert not isinstance(references, Failure)
    assert answer_type_of(references) is answer_type
    source = source.replace("answer_type = 'text'", f"answer_type = '{answer_type.value}'")
    report = Admission(AdmissionConfig(), sandbox).check(Proposal(source, "file"))
    assert report.verdict is Verdict.ADMITTED_MECHANICALLY, (report.refused_at, report.reason, report.stages[-1].evidence)


def test_the_answer_is_recomputed_from_what_is_shown(rlve_classes: ModuleType, sandbox: Sandbox) -> None:
    with opened(sandbox, adapted(rlve_classes, "BRIDGES")) as environment:
        public = {"N": 3, "costs": [5, 1, 9]}
        assert environment.reference(public, {}) == "10"  # bridge 2, then bridge 3
        assert environment.reference({"N": 2, "costs": [1, 7]}, {}) == "7"
        assert "5 1 9" in str(environment.render(public))
        assert environment.verify_case(public, "10", None) == 1.0
        assert environment.verify_case(public, "11", None) == 0.0
        assert environment.verify_case(public, "ten", None) == 0.0


def test_a_certificate_keeps_its_witness_private_and_any_solution_counts(rlve_classes: ModuleType, sandbox: Sandbox) -> None:
    with opened(sandbox, adapted(rlve_classes, "ZERO_SUM")) as environment:
        made = environment.make_instance(Split.TRAIN, 0, 3)
        assert not isinstance(made, Failure)
        assert set(made.public) == {"numbers"}
        assert set(made.private) == {"reference_answer"}
        assert environment.verify_case({"numbers": [3, -3, 5, -5]}, "2 3", None) == 1.0
        assert environment.verify_case({"numbers": [3, -3, 5, -5]}, "0 1", None) == 1.0
        assert environment.verify_case({"numbers": [3, -3, 5, -5]}, "0 0", None) == 0.0


def test_same_seed_same_instance(rlve_classes: ModuleType, sandbox: Sandbox) -> None:
    with opened(sandbox, adapted(rlve_classes, "MATRIX_TRACE")) as environment:
        assert environment.generate(5, 4) == environment.generate(5, 4)
        assert environment.generate(5, 4) != environment.generate(6, 4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RETRY_LOOP", "reference_answer is set before the last random draw"),
        ("HIDDEN_DRAW", "uses best, which is drawn here"),
        ("NUMPY", "imports numpy"),
    ],
)
def test_refusals_name_line_and_reason(name: str, reason: str, rlve_classes: ModuleType) -> None:
    with pytest.raises(AdapterError, match=rf"line \d+: .*{reason}"):
        rlve.adapt(getattr(rlve_classes, name))


def test_refuses_other_shapes(rlve_classes: ModuleType) -> None:
    bridges = rlve_classes.BRIDGES
    with pytest.raises(AdapterError, match="0 classes"):
        rlve.adapt("x = 1")
    with pytest.raises(AdapterError, match="not Python"):
        rlve.adapt("def")
    with pytest.raises(AdapterError, match="nothing says what is harder"):
        rlve.adapt(bridges.partition("class Bridges_ParameterController")[0])
    with pytest.raises(AdapterError, match="at least 5"):
        rlve.adapt(bridges, levels=[{"N": 3}])
    with pytest.raises(AdapterError, match="as a whole"):
        rlve.adapt(bridges.replace('N=self.parameter["N"], costs', "**self.parameter, costs"))
    with pytest.raises(AdapterError, match="scorer draws at random"):
        rlve.adapt(bridges.replace("if processed_result is not None:", "if processed_result is not None and random.random():"))
    with pytest.raises(AdapterError, match="outside the class"):
        rlve.adapt(bridges.replace("class Bridges_Env", "LIMIT = random.randint(1, 9)\n\n\nclass Bridges_Env"))

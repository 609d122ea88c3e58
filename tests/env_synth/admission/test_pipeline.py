from collections.abc import Callable

from env_synth.admission.pipeline import Admission
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal
from env_synth.sandbox.host import Sandbox


def test_a_batch_keeps_its_order_and_its_verdicts(read: Callable[[str], str], sandbox: Sandbox) -> None:
    names = ["broken/prompt_too_short", "clean/josephus", "broken/imports_os", "broken/set_order", "broken/not_json"]
    proposals = [Proposal(read(name), "file") for name in names]
    alone = Admission(AdmissionConfig(), sandbox)
    together = Admission(AdmissionConfig(), sandbox, workers=SandboxConfig(workers=2))
    reports = together.check_many(proposals)
    assert [report.environment_id for report in reports] == [proposal.environment_id for proposal in proposals]
    assert [report.refused_at for report in reports] == ["S1", "", "S0", "S2", "S1"]
    assert reports == [alone.check(proposal) for proposal in proposals]
    assert together.check_many([]) == []

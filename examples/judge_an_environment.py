"""Is this environment worth training on? The mechanical admission stages on one source, in the sandbox.

Run: .venv/bin/python -m examples.judge_an_environment
"""

from env_synth.admission.pipeline import Admission
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Proposal
from env_synth.sandbox.host import Sandbox

SOURCE = '''
class DigitSum:
    """Sum of the digits of a number."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 4

    def generate(self, rng, level):
        return {"number": rng.randint(10 ** (level + 1), 10 ** (level + 2))}, {}

    def render(self, public):
        return f"Add up all the digits of the number {public['number']}. What is their sum?"

    def reference(self, public, private):
        return str(sum(int(digit) for digit in str(public["number"])))

    def verify(self, public, answer, reference):
        return 1.0 if answer.strip() == reference else 0.0
'''

if __name__ == "__main__":
    with Sandbox(SandboxConfig()) as sandbox:
        report = Admission(AdmissionConfig(), sandbox).check(Proposal(SOURCE, origin="file"))
    for stage in report.stages:
        print(f"{stage.stage}  {stage.outcome}  {stage.reason}  {stage.evidence or ''}")
    print("admitted" if report.admitted else f"refused at {report.refused_at}: {report.reason}")

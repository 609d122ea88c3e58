"""Tests of env_synth/adapters/exports.py."""

import ast
import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from env_synth.adapters.errors import AdapterError
from env_synth.adapters.exports import SYSTEMS, export
from env_synth.contract import environment_id
from env_synth.seeds import seed_sources

ROOT = Path(__file__).parents[3]
SOURCE = seed_sources()["subset_sum"]
REPORT: dict[str, Any] = {"environment_id": environment_id(SOURCE), "admitted": True, "refused_at": "", "reason": ""}

LOAD_VERIFIERS = """
import asyncio, json, sys
sys.path[:0] = [{root!r}, {package!r}]
import verifiers


def of_rubric():
    environment = verifiers.load_environment("subset_sum", level=2, train_instances=3, eval_instances=2)
    row = environment.dataset[0]

    async def score(text):
        state = {{"completion": [{{"role": "assistant", "content": text}}], "timing": {{"scoring_ms": 0, "total_ms": 0}}}}
        state |= {{"prompt": row["prompt"], "answer": row["answer"], "info": row["info"], "trajectory": []}}
        await environment.rubric.score_rollout(state)
        return state["reward"]

    return row["prompt"][0]["content"], row["answer"], score


def of_taskset():
    import verifiers.v1 as vf
    from verifiers.v1.utils.loaders import resolve_env_config

    taskset = {{"id": "subset-sum", "level": 2, "instances": 3}}
    environment = vf.load_environment(resolve_env_config({{"taskset": taskset}}))
    task = next(iter(environment.taskset))

    async def score(text):
        made = vf.TraceTask(type=type(task).__name__, data=task.data)
        trace = vf.Trace(task=made, agent=vf.AgentInfo(config=vf.AgentConfig()), root_reply=text)
        await task.score(trace)
        return sum(reward.value for reward in trace.rewards.values())

    return task.data.prompt, task.data.answer, score


prompt, answer, score = (of_rubric if hasattr(verifiers, "SingleTurnEnv") else of_taskset)()
replies = [f"<answer>{{answer}}</answer>", "<answer>junk</answer>", answer, "<answer>0</answer>"]
print(json.dumps([prompt, [asyncio.run(score(reply)) for reply in replies]]))
"""

LOAD_GYM = """
import json, sys
sys.path[:0] = [{root!r}, {package!r}]
import reasoning_gym, subset_sum
from reasoning_gym.factory import create_curriculum

dataset = reasoning_gym.create_dataset("subset_sum", level=3, seed=42, size=4)
items = list(dataset)
scores = [dataset.score_answer(item["answer"], item) for item in items]
scores += [dataset.score_answer(answer, items[0]) for answer in ("junk", None)]
curriculum = create_curriculum("subset_sum")
curriculum.set_global_level(5)
again = reasoning_gym.create_dataset("subset_sum", level=3, seed=42, size=4)[2]
print(json.dumps([[item["question"] for item in items], scores, curriculum.generate_configuration().level, again == items[2]]))
"""


@pytest.mark.parametrize("system", SYSTEMS)
def test_writes_a_package_that_carries_source_and_report(system: str, tmp_path: Path) -> None:
    target = export(SOURCE, system, tmp_path, report=REPORT)
    assert target.name == "subset-sum"
    assert (target / "subset_sum" / "source.py.txt").read_text() == SOURCE
    assert json.loads((target / "subset_sum" / "admission.json").read_text()) == REPORT
    project = tomllib.loads((target / "pyproject.toml").read_text())["project"]
    assert "evoenv-jax" in project["dependencies"]
    for file in (target / "subset_sum").glob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text())), file


def test_refuses_what_is_not_admitted_and_what_is_there(tmp_path: Path) -> None:
    refused = {**REPORT, "admitted": False, "refused_at": "S4", "reason": "accepts_junk"}
    with pytest.raises(AdapterError, match="refused at S4: accepts_junk"):
        export(SOURCE, "verifiers", tmp_path, report=refused)
    with pytest.raises(AdapterError, match="not admitted"):
        export(SOURCE + "\n", "verifiers", tmp_path, report=REPORT)
    with pytest.raises(AdapterError, match="no package name"):
        export(SOURCE, "verifiers", tmp_path, report=REPORT, name="../up")
    with pytest.raises(AdapterError, match="levels 0 to 9"):
        export(SOURCE, "verifiers", tmp_path, report=REPORT, level=11)
    with pytest.raises(AdapterError, match="verifiers, reasoning_gym"):
        export(SOURCE, "gymnasium", tmp_path, report=REPORT)
    export(SOURCE, "verifiers", tmp_path, report=REPORT)
    with pytest.raises(AdapterError, match="there already"):
        export(SOURCE, "verifiers", tmp_path, report=REPORT)


@pytest.mark.slow
def test_verifiers_loads_it_and_grades_in_the_sandbox(adapter_python: str, tmp_path: Path) -> None:
    package = export(SOURCE, "verifiers", tmp_path, report=REPORT)
    prompt, scores = run(adapter_python, LOAD_VERIFIERS, package)
    assert scores == [1.0, 0.0, 0.0, 0.0]
    assert prompt.startswith("Numbers: ")


@pytest.mark.slow
def test_reasoning_gym_creates_it_with_our_prompts_and_scores(adapter_python: str, tmp_path: Path) -> None:
    from env_synth.adapters.serving import ServedEnvironment

    package = export(SOURCE, "reasoning_gym", tmp_path, report=REPORT)
    questions, scores, level, same = run(adapter_python, LOAD_GYM, package)
    assert scores == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    assert (level, same) == (5, True)
    served = ServedEnvironment(SOURCE, environment_id(SOURCE))
    ours = [served.question(served.instance_at(42, place, 3), "tag_or_last_value") for place in range(4)]
    served.close()
    assert questions == ours


def run(python: str, script: str, package: Path) -> Any:
    text = script.format(root=str(ROOT), package=str(package))
    done = subprocess.run([python, "-c", text], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])

"""One evaluation from request to record: suites opened, training data searched, policies sampled one after the other, compared.

Left out: flags (`evo_jax.evaluate`), and what each part does.
"""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo_jax.config import Config
from evo_jax.evaluation import ProblemResult, compare_results
from evo_jax.suites.catalogue import check_names, open_suites
from evo_jax.suites.choice import PolicyChoice
from evo_jax.suites.contamination import check_contamination, training_texts
from evo_jax.suites.policies import open_policy
from evo_jax.suites.progress import SamplingView
from evo_jax.suites.records import Suite, SuiteOptions
from evo_jax.suites.report import evaluation_json, read_evaluation, require_same_settings
from evo_jax.suites.sampling import Decoding, decoding_of, evaluate_suite


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated on what. `compare_to` is another policy, or a file that an earlier evaluation wrote."""

    config: Config
    policy: PolicyChoice
    suites: tuple[str, ...]
    options: SuiteOptions
    samples: int
    compare_to: PolicyChoice | Path | None = None
    training_run: Path | None = None


def run_evaluation(request: EvaluationRequest, view: SamplingView) -> dict[str, Any]:
    """The record of the evaluation (`report`), with `compared_to` and `contamination` where they were asked for."""
    check_names(request.suites, request.config)
    decoding = decoding_of(request.config, request.samples)
    rule, engine = request.options.extraction_rule, request.config.rollout.engine
    settings = {**decoding.to_json(), "extraction_rule": rule, "engine": engine}
    earlier = None
    if isinstance(request.compare_to, Path):
        earlier = read_evaluation(request.compare_to)
        require_same_settings(earlier["settings"], settings, request.compare_to)
    with ExitStack() as stack:
        view.note(f"opening {', '.join(request.suites)}")
        suites = open_suites(request.suites, request.options, stack)
        found = None
        if request.training_run is not None:
            view.note(f"searching the training problems of {request.training_run}")
            found = {"run": str(request.training_run), **check_contamination(suites, training_texts(request.training_run))}
        before_name = ""
        before: list[ProblemResult] = []
        if isinstance(request.compare_to, PolicyChoice):
            described, before = _evaluate_policy(request.compare_to, request.config, suites, decoding, view)
            before_name = described["name"]
        elif earlier is not None:
            before_name, before = earlier["policy"]["name"], earlier["problems"]
        described, after = _evaluate_policy(request.policy, request.config, suites, decoding, view)
        record = evaluation_json(described, settings, suites, after)
    if request.compare_to is not None:
        problems = [dataclasses.asdict(result) for result in before]
        record["compared_to"] = {
            "before": before_name,
            "after": described["name"],
            **compare_results(before, after),
            "problems_before": problems,
        }
    if found is not None:
        record["contamination"] = found
    return record


def _evaluate_policy(
    choice: PolicyChoice, config: Config, suites: list[Suite], decoding: Decoding, view: SamplingView
) -> tuple[dict[str, Any], list[ProblemResult]]:
    """(how the record names the policy, its results)."""
    messages = [problem.message for suite in suites for problem in suite.problems]
    view.note(f"loading {choice.path}")
    results: list[ProblemResult] = []
    with open_policy(choice, config, messages, decoding.samples, view.note) as policy:
        for suite in suites:
            view.note(f"sampling {decoding.samples} replies to each of {len(suite.problems)} problems of {suite.name}")
            with view.sampling(suite.name) as on_progress:
                results += evaluate_suite(suite, policy, decoding, on_progress, view.note)
        described = {"name": policy.name, "path": str(choice.path), "step": policy.step if choice.is_run else None}
    return described, results

"""Entry: python -m env_synth.adapt rlve FILE [--controller=FILE] [--levels=FILE] [--family=NAME] [--output=FILE]
       python -m env_synth.adapt reasoning_gym NAME... [--packages=DIR] [--output_dir=DIR] [--all_stages] [--json]

Brings environments of other systems in. `rlve` writes the contract source made from a class of RLVE's shape, to be judged
like any other (`python -m env_synth.admit`). `reasoning_gym` wraps datasets of the installed package and judges them here,
because a wrapper needs a sandbox that knows the package; `all` stands for every dataset. Exit status 0: adapted and none
refused, 1: any refused, 2: misuse or what can't be adapted. Left out: keeping what was adapted (`registry`).
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from env_synth.adapters import reasoning_gym, rlve
from env_synth.adapters.answer_types import answer_type_of, sampled_references
from env_synth.adapters.errors import AdapterError
from env_synth.adapters.judging import judge_adapted
from env_synth.admission.candidate import Context
from env_synth.config import AdmissionConfig, SandboxConfig
from env_synth.contract import Failure, Family
from env_synth.errors import EnvSynthError
from env_synth.novelty import Archive
from env_synth.printable import printable
from env_synth.sandbox.host import Sandbox

MAX_SHOWN_CHARACTERS = 400
MAX_FILE_BYTES = 1 << 20
EVERY = "all"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    try:
        return _adapt_class(options) if options.system == "rlve" else _adapt_datasets(options)
    except EnvSynthError as error:
        print(f"adapt: {printable(str(error), 2000)}", file=sys.stderr)
        return 2


def _adapt_class(options: argparse.Namespace) -> int:
    levels = None if options.levels is None else _levels(options.levels)
    controller = "" if options.controller is None else _read(options.controller)
    family = None if options.family is None else Family(options.family)
    source = _read(options.file)
    made = rlve.adapt(source, levels=levels, controller=controller, family=family)
    with Sandbox(SandboxConfig()) as sandbox:
        references = sampled_references(sandbox, made)
    if isinstance(references, Failure):
        print(f"adapt: the rewritten source does not load: {printable(references.detail, 2000)}", file=sys.stderr)
        return 1
    kind = answer_type_of(references)
    made = rlve.adapt(source, levels=levels, controller=controller, family=family, answer_type=kind)
    if options.output is None:
        print(made)
    else:
        _write(options.output, made)
        print(f"{options.output}: {len(made.splitlines())} lines, answer type {kind.value}; judge it with env_synth.admit")
    return 0


def _adapt_datasets(options: argparse.Namespace) -> int:
    package = reasoning_gym.find_package(options.packages)
    known = reasoning_gym.list_datasets(package)
    names = sorted(known) if options.names == [EVERY] else options.names
    unknown = [name for name in names if name not in known]
    if unknown:
        raise AdapterError(f"{package.system} has no dataset {', '.join(unknown)}; it has {', '.join(sorted(known))}")
    lines = []
    refused = False
    with reasoning_gym.open_sandbox(package, [known[name] for name in names]) as sandbox:
        context = Context(AdmissionConfig(), sandbox, Archive())
        for name in names:
            line = _judge(known[name], package, context, options)
            refused |= line["verdict"] in ("refused", "not_adaptable")
            lines.append(line)
            if not options.json:
                print(f"{name:<28}{line['verdict']:<24}{line['refused_at']:<4}{line['reason']}")
                if line["evidence"]:
                    print(f"    {printable(json.dumps(line['evidence'], ensure_ascii=False), MAX_SHOWN_CHARACTERS)}")
    if options.json:
        print(json.dumps(lines, indent=1))
    return 1 if refused else 0


def _judge(
    dataset: reasoning_gym.GymDataset, package: reasoning_gym.GymPackage, context: Context, options: argparse.Namespace
) -> dict[str, Any]:
    adapted = reasoning_gym.adapt(dataset, package, context.sandbox)
    if isinstance(adapted, Failure):
        detail = f"{adapted.failure_class.value}: {adapted.detail}"
        return {"name": dataset.name, "verdict": "not_adaptable", "refused_at": "", "reason": detail, "evidence": {}}
    if options.output_dir is not None:
        _write(Path(options.output_dir) / f"{dataset.name}.py", adapted.source)
    report = judge_adapted(adapted, context, all_stages=options.all_stages)
    evidence = next((result.evidence for result in report.stages if result.stage == report.refused_at), {})
    found = {"name": dataset.name, "system": adapted.system, "verdict": report.verdict.value}
    return {**found, "evidence": evidence, **report.to_json()}


def _levels(path: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(_read(path))
    except ValueError as error:
        raise AdapterError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, list) or not all(isinstance(level, dict) for level in found):
        raise AdapterError(f"{path}: expected a JSON list with the parameters of each level, such as [{{'N': 3}}, {{'N': 5}}]")
    return found


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AdapterError(f"{path}: cannot be read ({error})") from None


def _write(path: str | Path, text: str) -> None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise AdapterError(f"{path}: cannot be written ({error.strerror})") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m env_synth.adapt", description="Environments of other systems, brought in.")
    systems = parser.add_subparsers(dest="system", required=True)
    one = systems.add_parser("rlve", help="rewrite a class with _generate, _prompt_generate, _process and scorer")
    one.add_argument("file", help="the class's source")
    one.add_argument("--controller", metavar="FILE", help="the source of its parameter controller, where that stands apart")
    one.add_argument("--levels", metavar="FILE", help="a JSON list with the parameters of each level, instead of a controller")
    one.add_argument("--family", choices=[family.value for family in Family], help="where the scorer does not tell")
    one.add_argument("--output", metavar="FILE", help="where the contract source goes; default: the terminal")
    many = systems.add_parser("reasoning_gym", help="wrap and judge datasets of reasoning-gym")
    many.add_argument("names", nargs="+", metavar="NAME", help=f"dataset names, or {EVERY}")
    many.add_argument("--packages", metavar="DIR", help="the site-packages directory that holds reasoning-gym")
    many.add_argument("--output_dir", metavar="DIR", help="keep the generated sources here")
    many.add_argument("--all_stages", action="store_true", help="go on after the first refusal")
    many.add_argument("--json", action="store_true", help="print a JSON list")
    return parser


if __name__ == "__main__":
    sys.exit(main())

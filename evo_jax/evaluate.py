"""`python -m evo_jax.evaluate --config=FILE --checkpoint=POLICY --suites=NAME,...`: how well a policy solves what it never saw.

POLICY is a model (Hugging Face directory or GGUF file), an export, a run directory or RUN/checkpoints/STEP; --compare_to names
another one, or a file that --out wrote. docs/evaluation.md explains the suites and every number. The other form,
`--run_dir=RUN`, samples nothing: it compares two held-out evaluations that a run logged. Exit codes: 0 done, 1 the evaluation
failed with a clear error, 2 misuse, 130 interrupted. Left out: training on anything, and charts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags, logging
from ml_collections import config_flags
from rich.console import Console

from evo_jax.command_line import INTERRUPTED, MISUSE, parse_flags, report_error, why_no_config
from evo_jax.config import Config, ConfigError
from evo_jax.evaluation import compare_run
from evo_jax.host_memory import keep_freed_memory
from evo_jax.run_directory import read_config
from evo_jax.suites.choice import PolicyChoice, PolicyChoiceError, choose_policy
from evo_jax.suites.records import SuiteError, SuiteOptions
from evo_jax.suites.report import TABLE_WIDTH, comparison_table, print_evaluation, to_json_text

if TYPE_CHECKING:  # it imports JAX, which a mistyped flag must not wait for
    from evo_jax.suites.run import EvaluationRequest

CONFIG = config_flags.DEFINE_config_file("config", help_string="Python file with get_config(): decoding, seed, engine.")
CHECKPOINT = flags.DEFINE_string("checkpoint", "", "Model, export, run directory or RUN/checkpoints/STEP; else policy.path.")
STEP = flags.DEFINE_integer("step", -1, "Step of the run's checkpoint in --checkpoint; -1 is the newest.")
COMPARE_TO = flags.DEFINE_string("compare_to", "", "What it is compared with: a policy as above, or an earlier --out file.")
SUITES = flags.DEFINE_list("suites", ["heldout", "held_out_seeds"], "Suites by name, and FILE.jsonl of questions.")
SAMPLES = flags.DEFINE_integer("samples", 0, "Replies to each problem; 0: evaluation.samples_per_prompt.")
LEVELS = flags.DEFINE_list("levels", [], "Levels of environments; empty: data.levels.")
PROMPTS = flags.DEFINE_integer("prompts", 0, "Per environment and level; 0: evaluation.prompts_per_environment.")
LIMIT = flags.DEFINE_integer("limit", 0, "At most so many problems of a data file, chosen by their ids; 0: all.")
HUMANEVAL = flags.DEFINE_string("humaneval", "", "HumanEval.jsonl or .jsonl.gz, for suite humaneval.")
REASONING_GYM = flags.DEFINE_list("reasoning_gym", [], "Dataset names, for suite reasoning_gym; empty: a short list.")
PACKAGES = flags.DEFINE_string("packages", "", "The site-packages directory that holds reasoning-gym, if not this Python's.")
TRAINING_RUN = flags.DEFINE_string("training_run", "", "Run whose training problems are searched; default: --checkpoint's.")
OUT = flags.DEFINE_string("out", "", "File for the whole record, as JSON.")
JSON = flags.DEFINE_bool("json", False, "Print the record as JSON instead of tables.")
RUN_DIR = flags.DEFINE_string("run_dir", "", "Compare two evaluations that this run logged, and sample nothing.")
BEFORE = flags.DEFINE_integer("before", -1, "With --run_dir: step of the earlier evaluation; -1 is the first.")
AFTER = flags.DEFINE_integer("after", -1, "With --run_dir: step of the later evaluation; -1 is the last.")


def main(arguments: Sequence[str]) -> int:
    """Runs what the flags ask for and returns the exit code."""
    logging.set_verbosity(logging.WARNING)
    if len(arguments) > 1:
        print(f"error: unexpected argument {arguments[1]!r}: settings are --config.section.field=value", file=sys.stderr)
        return MISUSE
    try:
        return _compare_logged(Path(RUN_DIR.value)) if RUN_DIR.value else _evaluate()
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    except (ConfigError, SuiteError, PolicyChoiceError) as error:
        return report_error(error, MISUSE)
    except Exception as error:
        return report_error(error, 1)


def _compare_logged(run_dir: Path) -> int:
    steps = [None if flag.value < 0 else flag.value for flag in (BEFORE, AFTER)]
    result = compare_run(run_dir, *steps)
    title = f"held-out solve rate, step {result['before']} -> step {result['after']}"
    if JSON.value:
        print(to_json_text(result))
    else:
        Console(width=TABLE_WIDTH).print(comparison_table(title, result["rows"]))
    return 0


def _evaluate() -> int:
    policy = choose_policy(CHECKPOINT.value, None if STEP.value < 0 else STEP.value) if CHECKPOINT.value else None
    config = CONFIG.value
    if not isinstance(config, Config):
        if policy is None or not policy.is_run or any(argument.startswith("--config") for argument in sys.argv):
            raise ConfigError(why_no_config())
        config = read_config(policy.path)
    config.validate()
    out = Path(OUT.value) if OUT.value else None
    if out is not None and (out.is_dir() or not os.access(out if out.exists() else out.absolute().parent, os.W_OK)):
        raise ConfigError(f"--out={out} cannot be written: name a file in a directory that exists")
    keep_freed_memory()
    from evo_jax.suites.catalogue import check_names

    check_names(SUITES.value, config)
    options = _options(config)
    from evo_jax.suites.progress import SamplingView
    from evo_jax.suites.run import run_evaluation

    request = _request(config, policy or choose_policy(config.policy.path, None), options)
    record = run_evaluation(request, SamplingView())
    if out is not None:
        out.write_text(to_json_text(record) + "\n")
    if JSON.value:
        print(to_json_text(record))
    else:
        print_evaluation(record, Console(width=TABLE_WIDTH))
    return 0


def _request(config: Config, policy: PolicyChoice, options: SuiteOptions) -> EvaluationRequest:
    from evo_jax.suites.run import EvaluationRequest

    other: PolicyChoice | Path | None = None
    if COMPARE_TO.value:
        is_record = COMPARE_TO.value.endswith(".json")
        other = Path(COMPARE_TO.value) if is_record else choose_policy(COMPARE_TO.value, None)
    if TRAINING_RUN.value:
        training_run: Path | None = Path(TRAINING_RUN.value)
    else:
        training_run = policy.path if policy.is_run else None
    samples = SAMPLES.value or config.evaluation.samples_per_prompt
    return EvaluationRequest(config, policy, tuple(SUITES.value), options, samples, other, training_run)


def _options(config: Config) -> SuiteOptions:
    if any(not level.isdigit() for level in LEVELS.value):
        raise ConfigError(f"--levels={','.join(LEVELS.value)}: levels are numbers from 0 on, such as --levels=0,1")
    if min(SAMPLES.value, PROMPTS.value, LIMIT.value) < 0:
        raise ConfigError("--samples, --prompts and --limit must not be negative")
    return SuiteOptions(
        env_synth=config.env_synth,
        levels=tuple(map(int, LEVELS.value)) or config.data.levels,
        prompts_per_environment=PROMPTS.value or config.evaluation.prompts_per_environment,
        limit=LIMIT.value,
        humaneval=Path(HUMANEVAL.value) if HUMANEVAL.value else None,
        reasoning_gym=tuple(REASONING_GYM.value),
        reasoning_gym_packages=PACKAGES.value or None,
    )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)

"""`python -m env_synth.play FILE --level=2 --seed=7`: shows an instance of an environment and grades an answer.

The answer is read from the terminal, or given with --answer. Ends with 0 if it is right, 1 if it is wrong, 2 if the command
or the machine can't do what was asked, 3 if the environment failed. What it says is shown as plain text: no control
characters, no escape sequences. Deliberately left out: any check of the source's rules (`python -m env_synth.admit`).
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from env_synth.config import SandboxConfig
from env_synth.contract import MAX_SOURCE_BYTES, Failure, environment_id
from env_synth.environment import Environment, open_environment
from env_synth.errors import ContractError, EnvSynthError
from env_synth.printable import printable
from env_synth.sandbox.host import Sandbox
from env_synth.seeds import SEED_SHA256

RIGHT, WRONG, UNUSABLE, FAILED = 0, 1, 2, 3
MAX_SHOWN = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Plays one instance; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m env_synth.play", description="Try an environment by hand.")
    parser.add_argument("file", type=Path, help="the environment's source")
    parser.add_argument("--level", type=int, default=0, help="how hard, 0 is easiest")
    parser.add_argument("--seed", type=int, default=0, help="which instance")
    parser.add_argument("--answer", help="grade this instead of asking")
    parser.add_argument("--unsafe_trust_code", action="store_true", help="run the file even where it can't be contained")
    options = parser.parse_args(arguments)
    try:
        return _play(options)
    except EnvSynthError as error:
        print(f"error: {printable(str(error), MAX_SHOWN)}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return UNUSABLE


def _play(options: argparse.Namespace) -> int:
    source = _read(options.file)
    trusted = environment_id(source) in SEED_SHA256.values()
    warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
    with Sandbox(SandboxConfig(unsafe_trust_code=options.unsafe_trust_code)) as sandbox:
        environment = open_environment(sandbox, source, trusted=trusted)
        if isinstance(environment, Failure):
            return _report(environment)
        top = environment.info.max_level
        if not 0 <= options.level <= top:
            raise ContractError(f"--level={options.level}: {options.file} has levels 0 to {top}")
        return _one_instance(environment, options)


def _one_instance(environment: Environment, options: argparse.Namespace) -> int:
    made = environment.generate(options.seed, options.level)
    if isinstance(made, Failure):
        return _report(made)
    public, private = made
    prompt = environment.render(public)
    if isinstance(prompt, Failure):
        return _report(prompt)
    reference = environment.reference(public, private)
    if isinstance(reference, Failure):
        return _report(reference)
    print(printable(prompt, MAX_SHOWN))
    answer = options.answer
    if answer is None:
        print(f"Answer ({printable(environment.info.answer_format, MAX_SHOWN)}): ", end="", flush=True)
        answer = sys.stdin.readline()
    grade = environment.verify_case(public, answer, reference)
    if isinstance(grade, Failure):
        return _report(grade)
    print("right" if grade == 1.0 else f"wrong; a right answer is: {printable(reference, MAX_SHOWN)}")
    return RIGHT if grade == 1.0 else WRONG


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES:
            raise ContractError(f"{path} is larger than the {MAX_SOURCE_BYTES} bytes that a source may have")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ContractError(f"cannot read {path}: {reason}") from None


def _report(failure: Failure) -> int:
    words = printable(failure.detail, MAX_SHOWN)
    print(f"the environment failed ({failure.failure_class.value}): {words}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())

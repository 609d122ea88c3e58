"""The seed register_machine against a brute force of its own."""

import re


def traced_from_text(prompt):
    """Runs the printed program by turning every line into a Python statement."""
    if "Start with" in prompt:
        return sum(map(int, re.findall(r"\d+", prompt)))
    registers = {name: int(value) for name, value in re.findall(r"([A-F]) = (-?\d+)", prompt.split(".")[0])}
    modulus = re.search(r"reduced modulo (\d+)", prompt)
    if modulus is None:
        body = prompt.split("Then:\n")[1].split("\nWhat")[0]
        exec(body, {}, registers)
        return sum(registers.values())
    lines = re.findall(r"^\d+: (.*)$", prompt, re.MULTILINE)
    left = int(re.search(r"stops when (\d+) lines", prompt).group(1))
    pending = []
    while left:
        if not pending:
            pending = list(lines)
        line = pending.pop(0)
        left -= 1
        branch = re.fullmatch(r"if ([A-F]) is divisible by (\d+), skip the next line", line)
        if branch:
            if registers[branch.group(1)] % int(branch.group(2)) == 0:
                pending = pending or list(lines)
                pending.pop(0)
        else:
            exec(line, {}, registers)
            registers = {name: value % int(modulus.group(1)) for name, value in registers.items()}
    return sum(registers.values()) % int(modulus.group(1))


def test_reference_is_what_the_printed_program_computes(small_cases):
    for _, case in small_cases("register_machine", count=40, levels=range(7)):
        assert case.reference == str(traced_from_text(case.prompt)), case.prompt


def test_a_skip_on_the_last_line_skips_line_one(load_seed):
    environment = load_seed("register_machine")
    # A: 4 -> 5 (line 1), line 2: 5 is no multiple of 3, line 1: 6, line 2: divisible, skips line 1, line 2 again: skips, ...
    public = {"start": {"A": 4}, "program": [["+", "A", 1], ["skip", "A", 3]], "steps": 9, "modulus": 50}
    assert environment.reference(public, {}) == "6"

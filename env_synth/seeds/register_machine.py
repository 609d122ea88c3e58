"""Seed environment: register-machine trace."""

import re

# By level: registers, program lines, executed lines, largest modulus (0: none, and the lines run once, in order).
LEVELS = (
    (1, 1, 1, 0),
    (1, 2, 2, 0),
    (2, 3, 3, 0),
    (2, 5, 8, 99),
    (3, 6, 18, 199),
    (3, 7, 40, 499),
    (4, 8, 100, 999),
    (4, 9, 250, 4999),
    (5, 11, 700, 9999),
    (6, 12, 2000, 99999),
)


def run(start, program, steps, modulus):
    """The registers after `steps` executed lines; a line is [operator, register, number or register]."""
    registers = dict(start)
    line = 0
    for _ in range(steps):
        operator, target, operand = program[line % len(program)]
        line += 1
        value = registers.get(operand, operand)
        if operator == "skip":
            if registers[target] % value == 0:
                line += 1
            continue
        if operator == "+":
            registers[target] += value
        elif operator == "-":
            registers[target] -= value
        else:
            registers[target] *= value
        if modulus:
            registers[target] %= modulus
    return registers


class RegisterMachine:
    """Trace a small program that loops over its lines: level 0 is one addition, level 9 is 2000 executed lines."""

    family = "compute"
    answer_type = "int"
    answer_format = "one integer"
    max_level = 9

    def generate(self, rng, level):
        count, lines, steps, largest = LEVELS[level]
        names = "ABCDEF"[:count]
        start = {name: rng.randint(1, 9) for name in names}
        program = []
        for number in range(lines):
            operator = "+" if level < 2 else "skip" if largest and number % 3 == 1 else rng.choice("+-*")
            target = names[number % count] if number < count else rng.choice(names)
            if operator in "+-":
                operand = rng.choice([rng.randint(1, 9), *[name for name in names if name != target]])
            else:
                operand = rng.randint(2, 3) if operator == "skip" else rng.randint(2, 9)
            program.append([operator, target, operand])
        public = {"start": start, "program": program}
        if largest:
            public["steps"] = steps + rng.randint(0, steps // 4)
            public["modulus"] = rng.randint(largest // 2, largest)
        return public, {}

    def render(self, public):
        lines = []
        for operator, target, operand in public["program"]:
            if operator == "skip":
                lines.append(f"if {target} is divisible by {operand}, skip the next line")
            else:
                lines.append(f"{target} = {target} {operator} {operand}")
        start = ", ".join(f"{name} = {value}" for name, value in public["start"].items())
        total = " + ".join(public["start"])
        if len(public["start"]) == 1 and "modulus" not in public:
            added = " ".join(f"Add {operand}." for _, _, operand in public["program"])
            return f"Start with {public['start']['A']}. {added} What is the result?"
        if "modulus" not in public:
            return f"At the start {start}. Then:\n" + "\n".join(lines) + f"\nWhat is {total} at the end?"
        modulus = public["modulus"]
        program = "\n".join(f"{number}: {line}" for number, line in enumerate(lines, 1))
        return (
            f"At the start {start}. The program:\n{program}\n"
            f"After each line the result is reduced modulo {modulus}, to 0..{modulus - 1}. After the last line comes "
            f"line 1 again, also for skipping. It stops when {public['steps']} lines were executed; an 'if' line "
            f"counts as executed, a skipped line does not.\nWhat is ({total}) modulo {modulus} at the end?"
        )

    def reference(self, public, private):
        modulus = public.get("modulus", 0)
        registers = run(public["start"], public["program"], public.get("steps", len(public["program"])), modulus)
        total = sum(registers.values())
        return str(total % modulus if modulus else total)

    def verify(self, public, answer, reference):
        text = answer.strip()
        if not re.fullmatch(r"[+-]?[0-9]{1,40}", text):
            return 0.0
        return 1.0 if int(text) == int(reference) else 0.0

"""The seed linear_recurrence against a brute force of its own."""

import re


def product(left, right, modulus):
    columns = list(zip(*right, strict=True))
    return [[sum(a * b for a, b in zip(row, column, strict=True)) % modulus for column in columns] for row in left]


def term_by_matrix_power(start, coefficients, constant, index, modulus):
    """Companion matrix on (newest .. oldest, 1), raised by repeated squaring."""
    order = len(start)
    step = [[*coefficients, constant]]
    step += [[int(column == row) for column in range(order + 1)] for row in range(order - 1)]
    step.append([0] * order + [1])
    power, exponent = [[int(i == j) for j in range(order + 1)] for i in range(order + 1)], index - order
    while exponent:
        if exponent % 2:
            power = product(power, step, modulus)
        step, exponent = product(step, step, modulus), exponent // 2
    state = [[value] for value in [*reversed(start), 1]]
    return product(power, state, modulus)[0][0]


def read(prompt):
    simple = re.fullmatch(r"Number 1 is (\d+)\. .* (\d+) more\.\nWhat is ([\d +]+), number (\d+)\?", prompt)
    if simple:
        start, constant, index = map(int, simple.group(1, 2, 4))
        assert simple.group(3) == " + ".join(map(str, [start, *[constant] * (index - 1)]))
        return [start], [1], constant, index, 10**9
    start = [int(value) for value in re.findall(r"x\(\d+\) = (\d+)", prompt)]
    coefficients = [int(value) for value in re.findall(r"(\d+)\*x\(n-\d+\)", prompt)]
    constant, modulus = map(int, re.search(r"\+ (\d+), reduced modulo (\d+)", prompt).groups())
    return start, coefficients, constant, int(re.search(r"x\((\d+)\)\?", prompt).group(1)), modulus


def test_reference_is_the_matrix_power(small_cases):
    for _, case in small_cases("linear_recurrence", levels=range(10), count=12):
        assert case.reference == str(term_by_matrix_power(*read(case.prompt))), case.prompt


def test_a_term_worked_by_hand(load_seed):
    public = {"start": [1, 2], "coefficients": [3, 1], "constant": 4, "index": 4, "modulus": 10}
    # x3 = 3*2 + 1 + 4 = 11 -> 1, x4 = 3*1 + 2 + 4 = 9
    assert load_seed("linear_recurrence").reference(public, {}) == "9"

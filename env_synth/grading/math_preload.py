"""What a zygote imports before it closes itself off, so that its workers can compare mathematical answers.

A worker can open no file and load no module, and sympy loads much of itself only when a term needs it: so a few terms of each
kind are compared here, in the zygote. Runs with the host's rights and only on the texts below; never sees an answer.
"""

from __future__ import annotations

import contextlib
import logging

WARM_PAIRS = (
    ("12", "the answer is 12."),
    ("1/2", "0.5"),
    ("1,234.5", "1234.5"),
    ("50%", "1/2"),
    ("2^10", "1024"),
    (r"$\frac{3}{4}$", r"\boxed{0.75}"),
    (r"$\sqrt{8} + \pi$", r"$2\sqrt{2} + \pi$"),
    (r"$x^2 - 1$", "$(x-1)(x+1)$"),
    (r"$x = 3$", "$3$"),
    (r"$2x + 3y = 6$", "$4x + 6y = 12$"),
    (r"$x > 2$", r"$(2, \infty)$"),
    (r"$1 < x < 2$", "$(1,2)$"),
    (r"$\{1, 2, 3\}$", "$3, 2, 1$"),
    (r"$[0, 1) \cup (2, 3]$", r"$(2,3] \cup [0,1)$"),
    (r"$(1, 2)$", "$(1, 3)$"),
    (r"$\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}$", r"$\begin{pmatrix} 1 & 2 \\ 3 & 5 \end{pmatrix}$"),
    (r"$3 + 4i$", "$4i + 3$"),
    (r"$\sin(x)^2 + \cos(x)^2$", "$1$"),
    (r"$\log_2 8 + \ln e$", "$4$"),
    (r"$\int x dx$", r"$\frac{x^2}{2}$"),
    (r"$\sum_{i=1}^{n} i$", r"$\frac{n(n+1)}{2}$"),
    (r"$\lim_{x \to 0} \frac{\sin x}{x}$", "$1$"),
    (r"$e^{i\pi}$", "$-1$"),
    (r"$5!$", "$120$"),
    (r"$\binom{5}{2}$", "$10$"),
    (r"$|x|$", "$x$"),
    (r"$\lfloor 2.5 \rfloor$", "$2$"),
    (r"$90^\circ$", "$90$"),
    (r"$\text{(A)}$", "$A$"),
    (r"$10\text{ cm}$", "$10$"),
    (r"$f(x) = x + 1$", "$x + 1$"),
)


def preload(argument: str) -> None:
    """Imports math-verify and warms it; `argument` is not used."""
    import math_verify
    import sympy.assumptions.wrapper
    import sympy.combinatorics
    import sympy.concrete.delta
    import sympy.integrals.heurisch
    import sympy.integrals.manualintegrate
    import sympy.integrals.risch
    import sympy.polys.polymatrix
    import sympy.sets.setexpr  # noqa: F401

    logging.disable(logging.CRITICAL)  # it logs what it can't parse, and a worker has nowhere to write
    for reference, answer in WARM_PAIRS:
        for first, second in ((reference, answer), (reference, reference), (answer, "$y + 7$")):
            with contextlib.suppress(Exception):
                gold, found = (math_verify.parse(text, parsing_timeout=None) for text in (first, second))
                math_verify.verify(gold, found, timeout_seconds=None)

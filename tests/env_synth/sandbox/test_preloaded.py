"""Tests of env_synth/sandbox/preloaded.py."""

import pytest

from env_synth.config import SandboxConfig
from env_synth.contract import ALLOWED_MODULES
from env_synth.sandbox import preloaded
from env_synth.sandbox.host import Sandbox

SOURCE = """
IMPORTS
class All:
    family, answer_type, answer_format, max_level = "compute", "text", "a line", 4
    def generate(self, rng, level): return {}, {}
    def render(self, public): return "x"
    def reference(self, public, private):
        USE
    def verify(self, public, answer, reference): return 1.0
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig()) as running:
        yield running


def test_every_module_of_the_contract_is_there_before_it_is_asked_for():
    assert set(ALLOWED_MODULES) <= set(vars(preloaded))


@pytest.mark.parametrize("module", ALLOWED_MODULES)
def test_a_source_can_import_it(sandbox, module):
    worker = sandbox.open(SOURCE.replace("IMPORTS", f"import {module}").replace("USE", f"return {module}.__name__"))
    assert worker.reference({}, {}) == module


USES = {
    "character_name": "return '\\N{SNOWMAN}'",
    "format_float": "return f'{1.5:.3e} {10**20:,} {0.1 + 0.2!r}'",
    "codecs": "return 'a'.encode('ascii').decode('latin-1').encode('utf-16').decode('utf-16')",
    "dispatch": "import functools; return functools.singledispatch(lambda x: 'one')(1)",
    "named_tuple": "import collections; return str(collections.namedtuple('P', 'x')(1).x)",
    "data_class": "import dataclasses; return str(dataclasses.asdict(dataclasses.make_dataclass('D', ['x'])(1)))",
    "an_enum": "import enum; return enum.Enum('E', 'A B').A.name",
    "deep_copy": "import copy, fractions; return str(copy.deepcopy([fractions.Fraction(1, 3)]))",
    "template": "import string; return string.Template('$x').substitute(x=1)",
    "wrapping": "import textwrap; return textwrap.fill('a b ' * 30)",
    "statistics": "import statistics; return str(statistics.NormalDist(0, 1).inv_cdf(0.9) + statistics.median([1, 2]))",
    "decimals": "import decimal; return str(decimal.Decimal(1) / 3)",
    "patterns": "import re; return re.sub('(?i)[a-z]+', 'x', 'Ab1')",
    "caught_error": "try:\n            1 / 0\n        except ZeroDivisionError as error:\n            return repr(error)",
    "typing": "import typing; return str(typing.Optional[int])",
    "json_text": "import json; return json.dumps(json.loads('[1, {}]'), indent=1)",
    "sampling": "import random; return str(random.Random(1).sample(range(10), 3))",
    "lru_cache": "import functools; return str(functools.lru_cache(None)(len)('abc'))",
    "large_text": "return str(3 ** 5000)",
    "case": "return 'straße'.casefold() + 'İ'.lower()",
}


@pytest.mark.parametrize("name", USES)
def test_what_the_library_reaches_for_later_is_there_too(sandbox, name):
    worker = sandbox.open(SOURCE.replace("IMPORTS", "").replace("USE", USES[name]))
    result = worker.reference({}, {})
    assert isinstance(result, str), result

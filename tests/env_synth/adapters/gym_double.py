"""A double of the reasoning-gym package, written to a directory: its shape, four small datasets, a data file read late.

`lines` is sound; `evaluated` runs its answers as code; `shuffled` depends on the hash seed; `nothing` has no reference answer.
"""

from pathlib import Path

FILES = {
    "__init__.py": """
from .factory import create_dataset
from . import tasks
""",
    "factory.py": """
DATASETS, CURRICULA = {}, {}


def create_dataset(name, **options):
    dataset_class, config_class = DATASETS[name]
    return dataset_class(config_class(**options))


def create_curriculum(name):
    return CURRICULA[name]()
""",
    "tasks.py": """
import dataclasses
import random
from pathlib import Path

from .factory import CURRICULA, DATASETS


@dataclasses.dataclass
class Config:
    count: int = 3
    seed: int | None = None
    size: int = 500


@dataclasses.dataclass
class Attribute:
    levels: list


class Curriculum:
    def __init__(self):
        self.attributes = {"count": Attribute([3, 5, 8, 12, 20, 40])}
        self.level = 0

    def set_global_level(self, level):
        self.level = level

    def generate_configuration(self):
        return Config(count=self.attributes["count"].levels[self.level])


class Dataset:
    def __init__(self, config):
        self.config, self.seed = config, config.seed
        self.factor = int(Path(__file__).with_name("factor.txt").open().read())

    def numbers(self, place):
        return [random.Random(self.seed + place).randint(10, 9999) for _ in range(1)] + [
            random.Random(f"{self.seed}/{place}/{turn}").randint(10, 9999) for turn in range(self.config.count)
        ]

    def __getitem__(self, place):
        numbers = self.numbers(place)
        question = f"Add up these numbers and multiply the sum by {self.factor}: {' '.join(map(str, numbers))}"
        return {"question": question, "answer": str(sum(numbers) * self.factor), "metadata": {}}

    def score_answer(self, answer, entry):
        return 1.0 if answer == entry["answer"] else 0.0


class Evaluated(Dataset):
    def score_answer(self, answer, entry):
        try:
            return 1.0 if answer == entry["answer"] or str(eval(answer)) == entry["answer"] else 0.0
        except Exception:
            return 0.0


class Shuffled(Dataset):
    def numbers(self, place):
        return [int(text) for text in set(map(str, super().numbers(place)))]


class Nothing(Dataset):
    def __getitem__(self, place):
        return {**super().__getitem__(place), "answer": None}


for name, dataset in (("lines", Dataset), ("evaluated", Evaluated), ("shuffled", Shuffled), ("nothing", Nothing)):
    DATASETS[name] = (dataset, Config)
    CURRICULA[name] = Curriculum
""",
    "factor.txt": "7\n",
}


def write(site_packages: Path) -> Path:
    """The package and its metadata under a directory; returns the directory."""
    for name, text in FILES.items():
        path = site_packages / "reasoning_gym" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    metadata = site_packages / "reasoning_gym-0.0.7.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: reasoning_gym\nVersion: 0.0.7\n")
    return site_packages

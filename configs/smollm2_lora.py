"""SmolLM2-135M with adapters alone trained, on the ten seed environments: Tina's recipe in small.

Command: .venv/bin/python -m evo_jax.train --config=configs/smollm2_lora.py
Hardware: two CPU cores. Wall time and result: not run in full yet; what a few steps gave stands in docs/results.md.
Source: arXiv 2504.15777 and its repository's recipes (rank 32, alpha 128, all seven products, 1e-6, group 6, temperature 0.7). Kept:
rank, alpha, targets. Different: the rate, since tens of updates of a 135M model are made here, not 1,500 of a 1.5B one; no dropout on
adapters (not implemented), and group, temperature and lengths of smollm2_cpu.py, so that the two can be compared.
"""

from configs.smollm2_cpu import get_config as all_parameters
from evo_jax.config import Config


def get_config() -> Config:
    """The fixed arm of smollm2_cpu.py, adapters trained in place of all parameters."""
    config = all_parameters()
    config.run_dir = "runs/smollm2_lora"
    config.lora.rank = 32
    config.lora.alpha = 128.0
    config.optimizer.learning_rate = 1e-4
    return config

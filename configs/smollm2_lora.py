"""SmolLM2-135M with adapters alone trained, on the ten seed environments: Tina's recipe in small.

Command: .venv/bin/python -m evo_jax.train --config=configs/smollm2_lora.py
Hardware: two CPU cores. Wall time and result: not run in full yet; five steps of 12 prompts took the held-out solve rate from
0.050 to 0.153 (docs/results.md).
Source: arXiv 2504.15777, the recipes of its repository: rank 32, alpha 128, dropout 0.05 on adapters, all seven products, rate
1e-6 falling by a cosine to a tenth over 1,500 steps, group 6, temperature 0.7, replies of 3,584 tokens. Kept: rank, alpha,
targets. Different: the rate, since a few dozen updates of a 135M model are made here; no dropout (not implemented); group,
temperature and lengths are smollm2_cpu.py's, so that the two can be compared.
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

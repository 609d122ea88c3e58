"""The update of benchmarks/accelerator.py in torch and transformers: one row a micro-batch, sdpa, gradient checkpointing.

Run by it in an environment of its own (torch, transformers), never imported:
    python torch_accelerator.py MODEL_DIRECTORY WORKLOAD.npz LORA_RANK REPEATS LOGITS_CHUNK
On a GPU where there is one. Full: float32 parameters under bfloat16 autocast, fused AdamW. LoRA: bfloat16 base, float32
adapters on all seven projections, written out here. Logits are computed and recomputed chunk by chunk. No packing is needed: a
completion fills its row. Prints one line of JSON: seconds of each update after the first, loss and gradient norm of the first.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
import transformers
from torch.utils.checkpoint import checkpoint

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Adapted(torch.nn.Module):
    """A frozen projection with an adapter beside it; alpha equals rank."""

    def __init__(self, base: torch.nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        device = base.weight.device
        self.down = torch.nn.Parameter(torch.randn(rank, base.in_features, device=device) * base.in_features**-0.5)
        self.up = torch.nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The base's product and the adapter's."""
        return self.base(x) + (x @ self.down.T.to(x.dtype)) @ self.up.T.to(x.dtype)


def adapt(model: transformers.PreTrainedModel, rank: int) -> None:
    """Freezes the model and puts adapters beside its projections."""
    model.requires_grad_(False)
    for layer in model.model.layers:
        for block in (layer.self_attn, layer.mlp):
            for name in TARGETS:
                if hasattr(block, name):
                    setattr(block, name, Adapted(getattr(block, name), rank))


def chunk_logprobs(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Log-probs of `targets` from the hidden states before them."""
    logits = (hidden @ weight.T.to(hidden.dtype)).float()
    return logits.gather(-1, targets[:, None])[:, 0] - logits.logsumexp(-1)


def row_loss(
    model: transformers.PreTrainedModel, row: dict[str, torch.Tensor], denominator: torch.Tensor, chunk: int
) -> torch.Tensor:
    """The objective of torch_learner.py for one row without padding, logits `chunk` tokens at a time."""
    tokens = row["tokens"][row["mask"] > 0]
    new = int(row["completion_mask"].sum())
    hidden = model.model(input_ids=tokens[None], use_cache=False).last_hidden_state[0, -new - 1 : -1]
    targets, weight = tokens[-new:], model.lm_head.weight
    parts = [
        checkpoint(chunk_logprobs, hidden[at : at + chunk], weight, targets[at : at + chunk], use_reentrant=False)
        for at in range(0, new, chunk)
    ]
    logprobs = torch.cat(parts)
    correction = (logprobs.detach() - row["rollout_logprobs"][:new]).exp().clamp(max=2.0)
    ratio = (logprobs - logprobs.detach()).exp()
    objective = torch.minimum(ratio * row["advantages"], ratio.clamp(0.8, 1.28) * row["advantages"])
    return -(correction * objective).sum() / denominator


def update(
    model: transformers.PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    work: dict[str, torch.Tensor],
    chunk: int,
    device: str,
) -> tuple[float, float]:
    """One update over all rows; returns loss and gradient norm."""
    total, denominator = 0.0, work["completion_mask"].sum()
    for b in range(len(work["tokens"])):
        row = {name: value[b] for name, value in work.items()}
        with torch.autocast(device, torch.bfloat16):
            loss = row_loss(model, row, denominator, chunk)
        loss.backward()
        total += float(loss.detach())
    trained = [p for p in model.parameters() if p.requires_grad]
    norm = float(torch.nn.utils.clip_grad_norm_(trained, 1.0))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if device == "cuda":
        torch.cuda.synchronize()
    return total, norm


def main() -> None:
    """Reads the model and the workload, measures, prints."""
    directory, workload, rank, repeats, chunk = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    dtype = torch.bfloat16 if rank else torch.float32
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="sdpa").to(device)
    if rank:
        adapt(model, rank)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-5, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, fused=True)
    work = {name: torch.from_numpy(value).to(device) for name, value in np.load(workload).items()}
    found, wall, cpu = [], [], []
    for _ in range(repeats + 1):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        found.append(update(model, optimizer, work, chunk, device))
        wall.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - begun_cpu)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else None
    answer = {"wall_s": wall[1:], "cpu_s": cpu[1:], "loss": found[0][0], "grad_norm": found[0][1], "rows_per_micro_batch": 1}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(answer | {"device_peak_mib": peak, "versions": versions}), flush=True)


if __name__ == "__main__":
    main()

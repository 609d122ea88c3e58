"""The same GRPO update in torch and transformers, as RL stacks usually write it: one padded row a completion, no packing.

Run by benchmarks/learner.py in an environment of its own (Python 3.11, torch 2.13.0 CPU, transformers), never imported:
    python torch_learner.py MODEL_DIRECTORY WORKLOAD.npz THREADS ROWS_PER_MICRO_BATCH
Each line on stdin ("float32" or "bfloat16") is one update, answered by one line of JSON: seconds, CPU seconds, loss,
gradient norm. Logits are only computed where a completion token is predicted (`logits_to_keep`).
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
import transformers


def token_logprobs(
    model: transformers.PreTrainedModel, tokens: torch.Tensor, mask: torch.Tensor, completion_tokens: int, temperature: float
) -> torch.Tensor:
    """Log-probs of the last `completion_tokens` of each row; prompts are padded on the left, completions on the right."""
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=tokens, attention_mask=mask, position_ids=positions, logits_to_keep=completion_tokens + 1, use_cache=False
    )
    logits = out.logits[:, :-1].float() / temperature
    targets = tokens[:, -completion_tokens:]
    return logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(-1)


def update(
    model: transformers.PreTrainedModel, optimizer: torch.optim.Optimizer, work: dict[str, torch.Tensor], rows: int, dtype: str
) -> tuple[float, float]:
    """One update over the whole workload; returns loss and gradient norm."""
    count, completion_tokens = work["rollout_logprobs"].shape
    denominator = work["completion_mask"].sum()
    total = 0.0
    for start in range(0, count, rows):
        part = {name: value[start : start + rows] for name, value in work.items()}
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            logprobs = token_logprobs(model, part["tokens"], part["mask"], completion_tokens, 1.0)
        proximal = logprobs.detach()
        correction = (proximal - part["rollout_logprobs"]).exp().clamp(max=2.0)
        ratio = (logprobs - proximal).exp()
        advantages = part["advantages"][:, None]
        objective = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.28) * advantages)
        loss = -(correction * objective * part["completion_mask"]).sum() / denominator
        loss.backward()
        total += float(loss.detach())
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total, float(norm)


def main() -> None:
    """Reads the model and the workload, then answers one line per update."""
    directory, workload, threads, rows = sys.argv[1:]
    torch.set_num_threads(int(threads))
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="sdpa")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-5, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.0, fused=True)
    work = {name: torch.from_numpy(value) for name, value in np.load(workload).items()}
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peer_python": sys.version.split()[0]}
    print(json.dumps({"versions": versions}), flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        loss, norm = update(model, optimizer, work, int(rows), line.strip())
        print(
            json.dumps(
                {
                    "wall_s": time.perf_counter() - wall,
                    "cpu_s": time.process_time() - cpu,
                    "loss": loss,
                    "grad_norm": norm,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()

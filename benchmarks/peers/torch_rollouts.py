"""Sampling with transformers' generate (static prompt batch, KV cache on), as RL stacks without an engine do it.

Run by benchmarks/rollouts.py in an environment of its own (Python 3.11, torch 2.13.0 CPU, transformers), never imported:
    python torch_rollouts.py MODEL_DIRECTORY THREADS
Each line on stdin, {"dtype", "prompts" [B][n], "new_tokens"}, is one call of generate, answered by one line of JSON: seconds,
CPU seconds, tokens. End of sequence is off, so that every completion has exactly `new_tokens`.
"""

from __future__ import annotations

import json
import sys
import time

import torch
import transformers


def generate(model: transformers.PreTrainedModel, prompts: list[list[int]], new_tokens: int) -> int:
    """One sampled call; returns how many tokens it made."""
    width = max(map(len, prompts))
    tokens = torch.tensor([[0] * (width - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            tokens,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            pad_token_id=0,
        )
    out = out.cpu()  # waits for a GPU
    return (out.shape[1] - width) * out.shape[0]


def main() -> None:
    """Answer calls until stdin ends, on a GPU where there is one."""
    directory, threads = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(threads)
    transformers.utils.logging.set_verbosity_error()
    models = {}
    print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        if call["dtype"] not in models:
            dtype = getattr(torch, call["dtype"])
            model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
            models[call["dtype"]] = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        wall, cpu = time.perf_counter(), time.process_time()
        count = generate(models[call["dtype"]], call["prompts"], call["new_tokens"])
        answer = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "tokens": count}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

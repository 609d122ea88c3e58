"""Sampling with llama.cpp's quantised kernels: its own server engine, run in process, one slot a sequence.

Run by benchmarks/rollouts.py in an environment of its own with xllamacpp (llama.cpp in a prebuilt wheel), never imported:
    python llama_cpp_rollouts.py MODEL.gguf THREADS
Each line on stdin, {"prompts" [B][n], "new_tokens"}, is one run, answered by one line of JSON: seconds, CPU seconds,
tokens. The engine batches the B requests continuously; end of sequence is ignored. A group's equal
prompts are one request for n completions, so that the engine reads them once. Left out: HTTP.
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
import sys
import time

import xllamacpp


def start(path: str, threads: int, prompts: list[list[int]], new_tokens: int) -> xllamacpp.Server:
    """A server with a slot for each prompt."""
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = len(prompts)
    params.n_ctx = (max(map(len, prompts)) + new_tokens + 8) * len(prompts)
    params.n_batch = params.n_ubatch = max(512, len(prompts))
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = True
    return xllamacpp.Server(params)


def generate(server: xllamacpp.Server, prompts: list[list[int]], new_tokens: int) -> int:
    """One run; returns how many tokens it made."""
    wanted = {"n_predict": new_tokens, "ignore_eos": True, "temperature": 1.0, "samplers": ["temperature"]}

    groups = collections.Counter(map(tuple, prompts))

    def complete(prompt: tuple[int, ...], count: int) -> int:
        answer = server.handle_completions({"prompt": list(prompt), "n": count, "cache_prompt": False, **wanted})
        # `usage` tells of one of the n completions; each ran into the limit.
        return sum(new_tokens for choice in answer["choices"] if choice["finish_reason"] == "length")

    with concurrent.futures.ThreadPoolExecutor(len(groups)) as clients:
        return sum(clients.map(complete, groups.keys(), groups.values()))


def main() -> None:
    """Answer calls until stdin ends; a server is kept as long as the number of prompts is the same."""
    path, threads = sys.argv[1], int(sys.argv[2])
    server, slots = None, 0
    print(json.dumps({"xllamacpp": xllamacpp.__version__}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        prompts, new_tokens = call["prompts"], call["new_tokens"]
        if slots != len(prompts):
            server, slots = start(path, threads, prompts, new_tokens), len(prompts)
        wall, cpu = time.perf_counter(), time.process_time()
        count = generate(server, prompts, new_tokens)
        if count != len(prompts) * new_tokens:
            raise RuntimeError(f"llama.cpp made {count} tokens, not {len(prompts) * new_tokens}")
        answer = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "tokens": count}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

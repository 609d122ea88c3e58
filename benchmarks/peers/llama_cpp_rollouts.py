"""Sampling with llama.cpp's quantised kernels through llama-cpp-python: B sequences decoded side by side in one batch.

Run by benchmarks/rollouts.py in an environment of its own with llama-cpp-python, never imported:
    python llama_cpp_rollouts.py MODEL.gguf THREADS
Each line on stdin, {"prompts" [B][n], "new_tokens"}, is one run, answered by one line of JSON: seconds, CPU seconds, tokens,
peak MiB. A group's equal prompts are evaluated once and their cache shared; end of sequence is ignored.
"""

import json
import resource
import sys
import time

import llama_cpp
from llama_cpp import llama_cpp as api


def fill(batch, entries):
    """Write (token, position, sequence ids, wants logits) entries into a llama batch."""
    batch.n_tokens = len(entries)
    for i, (token, position, sequences, logits) in enumerate(entries):
        batch.token[i], batch.pos[i], batch.logits[i] = token, position, logits
        batch.n_seq_id[i] = len(sequences)
        for j, sequence in enumerate(sequences):
            batch.seq_id[i][j] = sequence


def decode(context, batch):
    """Run the model on a batch."""
    if api.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")


def generate(model, threads, prompts, new_tokens):
    """One run; returns how many tokens it made."""
    count, longest = len(prompts), max(map(len, prompts))
    settings = api.llama_context_default_params()
    settings.n_ctx, settings.n_seq_max = (longest + new_tokens) * count, count
    settings.n_batch = settings.n_ubatch = max(512, count)
    settings.n_threads = settings.n_threads_batch = threads
    settings.kv_unified = True
    context = api.llama_init_from_model(model, settings)
    batch = api.llama_batch_init(max(512, count), 0, count)
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    api.llama_sampler_chain_add(chain, api.llama_sampler_init_temp(1.0))
    api.llama_sampler_chain_add(chain, api.llama_sampler_init_dist(7))
    groups = {}
    for sequence, prompt in enumerate(prompts):
        groups.setdefault(tuple(prompt), []).append(sequence)
    tokens = [0] * count
    for prompt, members in groups.items():
        fill(batch, [(token, i, members, i == len(prompt) - 1) for i, token in enumerate(prompt)])
        decode(context, batch)
        for member in members:
            tokens[member] = api.llama_sampler_sample(chain, context, len(prompt) - 1)
    for step in range(new_tokens - 1):
        fill(batch, [(tokens[s], len(prompts[s]) + step, [s], True) for s in range(count)])
        decode(context, batch)
        tokens = [api.llama_sampler_sample(chain, context, s) for s in range(count)]
    api.llama_sampler_free(chain)
    api.llama_batch_free(batch)
    api.llama_free(context)
    return count * new_tokens


def main():
    """Answer calls until stdin ends."""
    path, threads = sys.argv[1], int(sys.argv[2])
    api.llama_backend_init()
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    api.llama_log_set(silent, None)
    model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
    print(json.dumps({"llama-cpp-python": llama_cpp.__version__}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        count = generate(model, threads, call["prompts"], call["new_tokens"])
        answer = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "tokens": count}
        answer["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

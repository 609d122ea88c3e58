"""Completions with log-probs from the embedded engine: a group of four for one prompt.

Run: .venv/bin/python -m examples.sample_from_a_policy [MODEL]
"""

import sys

from flax import nnx

from evo_jax.policy.loading import load_policy
from evo_jax.rollouts.embedded import EmbeddedEngine, EngineSettings
from evo_jax.rollouts.protocol import RolloutRequest, SamplingParams

if __name__ == "__main__":
    policy = load_policy(sys.argv[1] if len(sys.argv) > 1 else "models/SmolLM2-135M-Instruct.Q4_1.gguf")
    engine = EmbeddedEngine(policy.model_config, policy.tokenizer, EngineSettings(slots=4, lanes=4))
    engine.load_weights(nnx.state(policy.decoder), policy_version=0)
    prompt = policy.tokenizer.chat_prompt([{"role": "user", "content": "What is 3 + 4?"}])
    sampling = SamplingParams(max_completion_tokens=16, temperature=0.7)
    [group] = engine.generate([RolloutRequest("example", prompt.token_ids, group_size=4, seed=0, sampling=sampling)])
    for completion in group:
        print(f"{completion.logprobs.sum():8.2f} nats  {completion.finish_reason:6s}  {completion.text!r}")

"""Train one policy as proposer and solver of verifiable environments, on JAX.

The inner half of the ring: prompts, rollouts, rewards, advantages, GRPO update, weight sync, checkpoints, export. What an
environment is and how it is contained and admitted lives in `env_synth`.
"""

"""An SGLang server for TPUs: sglang-jax's Engine in this process, behind the JSON routes that evo_jax/rollouts asks.

sglang-jax has no route for new weights and no version of them; here both are added from outside. It runs in an environment
of its own (requirements.txt) and imports nothing of this project but itself.
"""

"""Tests of env_synth/solver/protocol.py."""

from env_synth.solver.protocol import reply_seed


def test_seeds_depend_on_prompt_seed_and_place_alone() -> None:
    seeds = {reply_seed(prompt, seed, place) for prompt in ("a", "b") for seed in (0, 1) for place in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert reply_seed("a", 0, 1) == reply_seed("a", 0, 1)
    assert reply_seed("\ud800", 0, 0) >= 0

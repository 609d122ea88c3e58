"""Tests of evo_jax/memory.py."""

from evo_jax.config import Config, LoraConfig
from evo_jax.memory import adapter_count, memory_estimate_mib, parameter_count
from evo_jax.policy.model_config import ModelConfig

SMOLLM2 = ModelConfig(
    family="llama",
    vocab_size=49152,
    num_layers=30,
    width=576,
    ffn_width=1536,
    num_heads=9,
    num_kv_heads=3,
    head_size=64,
    tied_embeddings=True,
)


def test_parameters_of_smollm2_by_hand() -> None:
    # a layer: q and output 2*576*576, k and v 2*576*192, three of 576*1536, two norms; embedding once; final norm
    layer = 2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536 + 2 * 576
    assert parameter_count(SMOLLM2) == 30 * layer + 49152 * 576 + 576 == 134_515_008


def test_the_sum_is_the_sum_and_a_reference_policy_costs_memory() -> None:
    config = Config()
    plain = memory_estimate_mib(SMOLLM2, config, "float32")
    assert plain["sum"] == sum(value for name, value in plain.items() if name != "sum")
    assert plain["parameters"] == 134_515_008 * 4 / 2**20
    config.objective.kl_weight, config.objective.kl_estimator = 0.1, "k3"
    assert memory_estimate_mib(SMOLLM2, config, "float32")["reference policy"] == plain["parameters"]


def test_only_an_embedded_engine_takes_the_runs_own_memory() -> None:
    config = Config()
    config.rollout.slots, config.rollout.group_size = 32, 8
    config.rollout.max_prompt_tokens, config.rollout.max_completion_tokens = 100, 50
    embedded = memory_estimate_mib(SMOLLM2, config, "bfloat16")
    # keys and values of 30 layers and 3 heads of 64, for 32 completions and 4 prompts
    assert embedded["rollout KV cache"] == 2 * 30 * 3 * 64 * 2 * (32 * 50 + 4 * 100) / 2**20
    assert embedded["rollout weights"] == 134_515_008 * 2 / 2**20
    config.rollout.engine = "sglang"
    servers = memory_estimate_mib(SMOLLM2, config, "bfloat16")
    assert servers == {
        **{name: size for name, size in embedded.items() if not name.startswith("rollout")},
        "sum": embedded["sum"] - embedded["rollout weights"] - embedded["rollout KV cache"],
    }


def test_adapters_of_smollm2_by_hand() -> None:
    config = Config(lora=LoraConfig(rank=32, alpha=128.0))
    # in + out of q, k, v, output, gate, up, down, for each of 32 columns
    adapters = 30 * 32 * (2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536))
    assert adapter_count(SMOLLM2, config.lora) == adapters == 9_768_960
    found, plain = (memory_estimate_mib(SMOLLM2, c, "float32") for c in (config, Config()))
    assert found["parameters"] == plain["parameters"]
    assert found["optimizer"] == 2 * found["gradients"] == 2 * found["adapters"] == 8 * adapters / 2**20
    assert found["merged for a sync"] == 30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536) * 4 / 2**20
    config.objective.kl_weight, config.objective.kl_estimator = 0.1, "k3"
    assert memory_estimate_mib(SMOLLM2, config, "float32")["reference policy"] == found["adapters"]
    assert adapter_count(SMOLLM2, LoraConfig()) == 0
    assert adapter_count(SMOLLM2, LoraConfig(rank=2, alpha=2.0, targets=("key",))) == 30 * 2 * (576 + 192)


def test_a_save_in_the_background_is_counted_where_it_is_written_from_the_state_itself() -> None:
    config = Config()
    config.checkpoint.in_background = True
    found = memory_estimate_mib(SMOLLM2, config, "float32", on_cpu=True)
    assert found["state being saved"] == found["parameters"] + found["optimizer"] == 3 * 134_515_008 * 4 / 2**20
    assert "state being saved" not in memory_estimate_mib(SMOLLM2, config, "float32")
    assert "state being saved" not in memory_estimate_mib(SMOLLM2, Config(), "float32", on_cpu=True)
    config.lora = LoraConfig(rank=32, alpha=128.0)
    found = memory_estimate_mib(SMOLLM2, config, "float32", on_cpu=True)
    assert found["state being saved"] == 3 * found["adapters"]

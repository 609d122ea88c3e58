"""Credentials of known shapes are hidden, and ordinary commands are left as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch_tpu.redaction import HIDDEN, looks_secret, redact

SECRETS = [
    "ya29.a0AfB_byC1234567890-abcdefghij",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijkl",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "sk-abcdefghijklmnop1234",
    "AIza" + "x" * 35,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS)
@given(before=st.text("abc =:\n", max_size=5), after=st.text(" \n", min_size=1, max_size=3))
def test_known_shapes_are_hidden_anywhere(secret: str, before: str, after: str) -> None:
    assert secret not in redact(f"{before} {secret}{after}")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer "),
        ("WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567", "WANDB_API_KEY="),
        ('{"password": "correct-horse"}', '{"password": "'),
        ("https://me:correct-horse@example.com/x.git", "@example.com/x.git"),
    ],
)
def test_named_values_are_hidden(text: str, kept: str) -> None:
    assert HIDDEN in redact(text)
    assert kept in redact(text)
    assert "correct-horse" not in redact(text)
    assert "0123456789abcdef" not in redact(text)


def test_a_private_key_is_hidden_to_its_end() -> None:
    text = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----\nafter"
    assert redact(text) == f"{HIDDEN}\nafter"


@pytest.mark.parametrize(
    "text",
    [
        "gcloud compute tpus queued-resources create run --project=p --zone=us-east5-b --spot",
        "--config.rollout.max_completion_tokens=4096 --config.learner.row_tokens=8192",
        "0123456789abcdef0123456789abcdef01234567",
        "registry.example.com/evo@sha256:0123456789abcdef",
    ],
)
def test_commands_stay_as_they_are(text: str) -> None:
    assert redact(text) == text
    assert not looks_secret(text)

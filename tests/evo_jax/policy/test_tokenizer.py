"""Tests of evo_jax/policy/tokenizer.py."""

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from evo_jax.policy.errors import PolicyError
from evo_jax.policy.huggingface import read_tokenizer
from evo_jax.policy.stops import StopMatcher
from evo_jax.policy.tokenizer import Tokenizer

FIXTURE = Path(__file__).parents[2] / "fixtures" / "policy" / "tokenizer"
USER = [{"role": "user", "content": " hi "}]


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer(FIXTURE, eos_token_ids=(3,))


def with_template(template, **settings):
    backend = tokenizers.Tokenizer.from_file(str(FIXTURE / "tokenizer.json"))
    return Tokenizer(backend, {"chat_template": template, **settings})


def test_special_tokens(tokenizer):
    assert tokenizer.vocab_size == 300
    assert tokenizer.eos_token_ids == (3, 2)  # the config's <end>, then the tokenizer's own </s>
    assert tokenizer.pad_token_id == 0
    assert tokenizer.encode("<s>") == [1]
    assert tokenizer.decode([1, *tokenizer.encode("a"), 2]) == "a"
    assert tokenizer.decode([1], skip_special_tokens=False) == "<s>"


def test_chat_prompt(tokenizer):
    prompt = tokenizer.chat_prompt(USER)
    assert prompt.text == "<s>user: hi</s>"
    assert list(prompt.token_ids) == [1, *tokenizer.encode("user: hi"), 2]


@settings(max_examples=50)
@given(st.text(max_size=40))
def test_decode_undoes_encode(text):
    tokenizer = read_tokenizer_once()
    assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == text


def read_tokenizer_once(cache={}):  # noqa: B006 (hypothesis and function-scoped fixtures don't mix)
    if "it" not in cache:
        cache["it"] = read_tokenizer(FIXTURE, ())
    return cache["it"]


def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = read_tokenizer(tmp_path, (3,))
    assert again.settings == tokenizer.settings
    assert again.chat_prompt(USER) == tokenizer.chat_prompt(USER)


def test_template_file_wins_over_the_config(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("Q: {{ messages[0].content }}")
    assert read_tokenizer(tmp_path, ()).chat_text(USER) == "Q:  hi "


def test_named_templates():
    tokenizer = with_template([{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}])
    assert tokenizer.chat_text(USER) == "yes"


def test_template_dialect():
    source = (
        "{% for m in messages %}\n    {% if loop.index > 1 %}{% break %}{% endif %}\n"
        "{{ m | tojson }}{% endfor %}\n{{ bos_token }}{{ style }}{% if add_generation_prompt %}>{% endif %}"
    )
    tokenizer = with_template(source, bos_token={"content": "<s>", "lstrip": False})
    text = tokenizer.chat_text([{"role": "ü", "content": "<"}] * 2, options={"style": "!"})
    assert text == '{"role": "ü", "content": "<"}<s>!>'


def test_prompts_do_not_depend_on_the_date():
    assert with_template("{{ 'now' if strftime_now is defined else 'never' }}").chat_text(USER) == "never"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("", "no chat template"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{% for %}", "template"),
        ("{{ messages.__class__.__mro__ }}", "template"),
        ("{{ messages.append(1) }}", "template"),
    ],
)
def test_bad_templates_are_clear_errors(template, words):
    with pytest.raises(PolicyError, match=words):
        with_template(template).chat_text(USER)


def test_truncation_and_padding_of_the_file_are_ignored():
    backend = tokenizers.Tokenizer.from_file(str(FIXTURE / "tokenizer.json"))
    backend.enable_truncation(2)
    backend.enable_padding(length=99)
    assert len(Tokenizer(backend, {}).encode("What is the capital of France?")) > 5
    assert len(Tokenizer(backend, {}).encode("a")) == 1


def test_without_any_special_token():
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = Tokenizer(backend, {})
    assert (tokenizer.eos_token_ids, tokenizer.pad_token_id) == ((), 0)


def test_stop_strings_over_tokens(tokenizer):
    ids = tokenizer.encode("four 日本 </answer> rest")
    matcher = StopMatcher(tokenizer.decode, ["本 </answer>"])
    taken = next(n for n, token in enumerate(ids, start=1) if matcher.push(token))
    assert tokenizer.decode(ids[:taken]) == "four 日本 </answer>"

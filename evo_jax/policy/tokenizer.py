"""Text to token ids and back, and chat messages to prompts, over the `tokenizers` library and a sandboxed template.

Built from a Hugging Face directory (`huggingface.read_tokenizer`) or a GGUF file (`gguf.read_tokenizer`). Left out:
training tokenizers, SentencePiece models without a tokenizer.json, and templates' clock (`strftime_now`): a prompt
depends on its messages alone, templates that ask for today's date take their fixed fallback.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.sandbox
import tokenizers

from evo_jax.policy.errors import PolicyError

_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclasses.dataclass(frozen=True)
class ChatPrompt:
    """A rendered conversation, ready for the policy's reply."""

    text: str
    token_ids: tuple[int, ...]


class Tokenizer:
    """One policy's tokenizer.

    `settings` is the content of its tokenizer_config.json (special tokens by text, chat template), kept whole so that an
    export writes back what was read. `eos_token_ids` end a completion; `pad_token_id` fills rows and is never scored.
    """

    def __init__(
        self, backend: tokenizers.Tokenizer, settings: Mapping[str, Any], *, eos_token_ids: Iterable[int] = ()
    ) -> None:
        self._backend = backend
        # Prompts are never cut or padded behind the caller's back, whatever the file asks for.
        self._backend.no_truncation()
        self._backend.no_padding()
        self.settings = dict(settings)
        self.special_tokens = {name: _token_text(settings[name]) for name in _SPECIAL_NAMES if settings.get(name)}
        named_eos = self._special_id("eos_token")
        ids = dict.fromkeys([*eos_token_ids, *([] if named_eos is None else [named_eos])])
        self.eos_token_ids: tuple[int, ...] = tuple(ids)
        pad = self._special_id("pad_token")
        self.pad_token_id: int = pad if pad is not None else next(iter(ids), 0)
        self.chat_template: str = _default_template(settings.get("chat_template"))

    @property
    def vocab_size(self) -> int:
        """Number of token ids the tokenizer knows; the model's vocabulary may be padded beyond it."""
        return self._backend.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        """Token ids of `text`. Special tokens written out in it are recognised; none is added unless asked for."""
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Text of `token_ids`; a character cut in half at an end comes out as U+FFFD."""
        return self._backend.decode(list(token_ids), skip_special_tokens=skip_special_tokens)

    def chat_text(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        add_generation_prompt: bool = True,
        options: Mapping[str, Any] | None = None,
    ) -> str:
        """`messages` ({'role': ..., 'content': ...}) in the chat template; `options` are extra template variables.

        Raises PolicyError when there is no template or it refuses the messages.
        """
        if not self.chat_template:
            raise PolicyError("this tokenizer has no chat template; use a model whose tokenizer_config.json names one")
        variables = {"tools": None, "documents": None, **self.special_tokens, **(options or {})}
        try:
            return self._template.render(messages=list(messages), add_generation_prompt=add_generation_prompt, **variables)
        except jinja2.TemplateError as error:
            raise PolicyError(f"the tokenizer's chat template can't render these messages: {error}") from error

    def chat_prompt(self, messages: Sequence[Mapping[str, str]], *, options: Mapping[str, Any] | None = None) -> ChatPrompt:
        """The conversation up to where the policy's reply begins, as text and as token ids."""
        text = self.chat_text(messages, options=options)
        return ChatPrompt(text, tuple(self.encode(text)))

    def save(self, directory: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json (with the chat template) into `directory`."""
        self._backend.save(str(directory / "tokenizer.json"))
        text = json.dumps(self.settings, indent=2, ensure_ascii=False)
        (directory / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")

    @functools.cached_property
    def _template(self) -> jinja2.Template:
        return _template_environment().from_string(self.chat_template)

    def _special_id(self, name: str) -> int | None:
        text = self.special_tokens.get(name)
        return None if text is None else self._backend.token_to_id(text)


def _token_text(value: str | Mapping[str, Any]) -> str:
    """tokenizer_config.json gives a special token as text or as {'content': text, ...}."""
    return value if isinstance(value, str) else value["content"]


def _default_template(value: str | Sequence[Mapping[str, str]] | None) -> str:
    """A file may hold one template, several by name ('default' is the chat one), or none ('')."""
    if value is None or isinstance(value, str):
        return value or ""
    return {entry["name"]: entry["template"] for entry in value}.get("default", "")


def _template_environment() -> jinja2.Environment:
    """The dialect chat templates are written in: trimmed blocks, loop controls, tojson, raise_exception.

    The template is model text: the immutable sandbox keeps it from attributes with underscores and from writing.
    """
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_template_error
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    """JSON as text for a prompt; jinja2's own filter escapes it for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_template_error(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)

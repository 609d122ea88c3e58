"""Tests of env_synth/prompts.py."""

import ast

from env_synth.prompts import (
    CONTRACT_BRIEF,
    LENSES,
    THEMES,
    ReviewExample,
    proposal_prompt,
    review_prompt,
    second_reference_prompt,
    second_verifier_prompt,
    without_comments,
)
from env_synth.proposal import read_proposal
from env_synth.seeds import seed_sources


def test_themes_are_many_and_distinct() -> None:
    assert len(set(THEMES)) == len(THEMES) >= 40
    assert all(theme == theme.strip() and "\n" not in theme for theme in THEMES)


def test_every_part_is_there_and_the_theme_comes_last() -> None:
    first, second = list(seed_sources().values())[:2]
    text = proposal_prompt([first, second], "islands")
    assert text.startswith(CONTRACT_BRIEF)
    assert text.count("```python") == 2
    assert text.index("Theme: islands") > text.rindex("```")


def test_exemplars_are_whole_or_absent() -> None:
    sources = list(seed_sources().values())
    for room in range(1000, 9000, 250):
        text = proposal_prompt(sources, "islands", max_characters=room)
        blocks = text.split("```python\n")[1:]
        shown = [block.split("```")[0] for block in blocks]
        assert all(ast.parse(block) for block in shown)
        assert len(text) <= max(room, len(proposal_prompt([], "islands")))
    assert "example" not in proposal_prompt([], "islands").lower()


def test_without_the_contract_stand_the_exemplar_and_what_is_asked_and_without_an_exemplar_the_contract_stands() -> None:
    source = next(iter(seed_sources().values()))
    text = proposal_prompt([source], "islands", show_contract=False)
    assert text.startswith("Example:\n```python")
    assert text.index("Theme: islands") > text.rindex("```")
    assert len(proposal_prompt([source], "islands")) - len(text) > len(CONTRACT_BRIEF)
    assert proposal_prompt([], "islands", show_contract=False) == proposal_prompt([], "islands")


def test_every_seed_fits_a_small_models_room() -> None:
    for name, source in seed_sources().items():
        text = proposal_prompt([source], THEMES[0], max_characters=6500)
        assert "```python" in text, name


def test_comments_and_docstrings_go_and_the_program_stays() -> None:
    source = (
        '"""Doc."""\n\n\nclass A:\n    """Doc."""\n\n    def f(self):  # why\n        """Only a doc."""\n\n    x = "a # b"\n'
    )
    stripped = without_comments(source)
    assert "Doc" not in stripped
    assert "why" not in stripped
    assert "'a # b'" in stripped
    assert ast.parse(stripped)
    assert without_comments("def (") == "def ("


def test_a_reply_that_follows_the_exemplar_is_read_back() -> None:
    source = next(iter(seed_sources().values()))
    block = proposal_prompt([source], "x").split("Example:\n")[1].split("\n\nWrite a new")[0]
    found = read_proposal(f"Here it is.\n{block}")
    assert getattr(found, "source", None) == without_comments(source)


def test_reviews_differ_by_their_lens_and_show_all_there_is_to_judge() -> None:
    source = seed_sources()["grid_paths"]
    example = ReviewExample("Grid of 2 rows", "one integer", "17")
    prompts = [review_prompt(lens, source, example) for lens in LENSES]
    assert len(set(prompts)) == len(LENSES) == 3
    for lens, prompt in zip(LENSES, prompts, strict=True):
        assert LENSES[lens] in prompt
        assert all(part in prompt for part in ("Grid of 2 rows", "one integer", "17", "def verify", CONTRACT_BRIEF))
        assert "Count the right/down paths" not in prompt, "docstrings claim, they do not show"
        assert prompt.rstrip().endswith("counts as broken.")


def test_second_opinions_see_puzzles_and_nothing_else() -> None:
    for ask, wanted in ((second_reference_prompt, "solve(text)"), (second_verifier_prompt, "check(text, answer)")):
        prompt = ask(["First puzzle.", "Second puzzle."], "one integer")
        assert prompt.count("<puzzle>") == 2
        assert all(part in prompt for part in ("First puzzle.", "Second puzzle.", "one integer", wanted))
        assert "def " not in prompt

"""The held-out family word_pieces against a brute force that reads the prompt alone."""

import re
from itertools import product


def read(prompt):
    both = re.search(r"Both ([a-z]+) and ([a-z]+) are", prompt)
    pieces = list(both.groups()) if both else re.search(r"^[a-z ]+$", prompt, re.MULTILINE)[0].split()
    return int(re.search(r"has (\d+) letters", prompt)[1]), pieces


def test_exactly_the_words_that_hold_all_pieces_are_accepted(family):
    words = family("word_pieces")
    for case in words.cases(range(3), 8):
        length, pieces = read(case.prompt)
        fitting = 0
        for letters in product(sorted(set("".join(pieces))), repeat=length):
            word = "".join(letters)
            expected = float(all(piece in word for piece in pieces))
            fitting += expected
            assert words.grade(case, word) == expected
        assert fitting >= 1


def test_pieces_are_distinct_and_fill_the_word(family):
    for case in family("word_pieces").cases((3, 6, 9), 5):
        length, pieces = read(case.prompt)
        assert len(set(pieces)) == len(pieces) == length - len(pieces[0]) + 1


def test_no_letter_can_change(family):
    words = family("word_pieces")
    for case in words.cases((4,), 4):
        word = case.reference
        for place, letter in product(range(len(word)), sorted({*word, "z"})):
            changed = word[:place] + letter + word[place + 1 :]
            assert words.grade(case, changed) == float(changed == word)
        assert words.grade(case, word.upper()) == 1.0
        assert words.grade(case, f"{word}{word}") == 0.0

"""Tests of env_synth/similar_sets.py."""

import random

from env_synth.similar_sets import SimilarSets


def members(rng: random.Random, count: int) -> set[int]:
    return {rng.getrandbits(64) for _ in range(count)}


def test_a_set_meets_itself_and_nothing_in_an_empty_one() -> None:
    rng = random.Random(1)
    one = members(rng, 200)
    sets = SimilarSets()
    assert sets.meeting(one) == set()
    sets.add("one", one)
    sets.add("nothing", set())
    assert sets.meeting(one) == {"one"}
    assert sets.meeting(set()) == set()


def test_alike_sets_meet_and_others_seldom() -> None:
    rng = random.Random(2)
    sets = SimilarSets(bands=96, rows=3)
    originals = [members(rng, 300) for _ in range(200)]
    for place, original in enumerate(originals):
        sets.add(str(place), original)
    met = others = 0
    for place, original in enumerate(originals):
        changed = set(list(original)[:240]) | members(rng, 60)  # Jaccard similarity 240 / 360
        found = sets.meeting(changed)
        met += str(place) in found
        others += len(found - {str(place)})
    assert met == 200
    assert others < 20


def test_the_order_of_insertion_and_the_process_do_not_matter() -> None:
    rng = random.Random(3)
    originals = [members(rng, 50) for _ in range(20)]
    shared = members(rng, 40)
    found = []
    for order in (range(20), reversed(range(20))):
        sets = SimilarSets()
        for place in order:
            sets.add(str(place), originals[place] | shared)
        found.append(sets.meeting(shared | originals[3]))
    assert found[0] == found[1]
    assert "3" in found[0]

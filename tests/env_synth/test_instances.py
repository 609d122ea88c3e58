"""Tests of env_synth/instances.py."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from env_synth.contract import AnswerType, Failure, FailureClass, Family, Instance, Split
from env_synth.instances import content_split, draw_instances, instance_id, instance_seed

coordinates = st.tuples(st.text(), st.sampled_from(Split), st.integers(0, 10**6), st.integers(0, 20))


@dataclass
class Counting:
    """A double: `space` different prompts, in turn."""

    space: int
    fails_at: int = -1
    calls: int = 0

    def make_instance(self, split: Split, index: int, level: int) -> Instance | Failure:
        self.calls += 1
        if index == self.fails_at:
            return Failure(FailureClass.EXCEPTION, "x")
        name = instance_id("e", split, index, level)
        prompt = f"problem {index % self.space}"
        return Instance(name, "e", split, index, level, prompt, {}, {}, "1", Family.COMPUTE, AnswerType.INT, "one integer")


@given(coordinates, coordinates)
def test_seeds_and_ids_differ_wherever_coordinates_differ(one, other):
    assert (instance_seed(*one) == instance_seed(*other)) == (one == other)
    assert (instance_id(*one) == instance_id(*other)) == (one == other)
    assert 0 <= instance_seed(*one) < 2**64


def test_seeds_are_pinned_for_ever():
    assert instance_seed("abc", Split.TRAIN, 0, 0) == 1937500594687161662
    assert instance_id("abc", Split.TRAIN, 0, 0) == "6ac0b3bb49790ff96e1c679ebe8281bd"


@given(st.lists(st.sampled_from(["3", "17", "add", "to", "7", "Zoë"]), min_size=1), st.randoms())
def test_mirrored_prompts_stand_on_the_same_side(words, random):
    mirrored = words[:]
    random.shuffle(mirrored)
    assert content_split(" ".join(words)) == content_split("  ".join(mirrored) + "?!")


def test_about_one_content_in_ten_is_held_out():
    held_out = sum(content_split(f"problem {n}") is Split.HELD_OUT for n in range(5000))
    assert 400 < held_out < 600  # the hash is fixed, so this is no matter of chance


def test_a_draw_is_distinct_and_of_its_split_and_goes_on_where_it_stopped():
    maker = Counting(10**6)
    for split in Split:
        first = draw_instances(maker, split, 2, 10)
        second = draw_instances(maker, split, 2, 10, first.next_index)
        prompts = [instance.prompt for instance in first.instances + second.instances]
        assert len(set(prompts)) == 20
        assert all(content_split(prompt) is split for prompt in prompts)
        assert first == draw_instances(Counting(10**6), split, 2, 10, 0)


def test_an_exhausted_space_is_reported_not_searched_for_ever():
    maker = Counting(20)
    found = draw_instances(maker, Split.TRAIN, 0, 64)
    assert 10 <= len(found.instances) <= 20
    assert maker.calls == found.next_index == 8 * 64


def test_a_failure_ends_the_draw():
    found = draw_instances(Counting(100, fails_at=3), Split.TRAIN, 0, 64)
    assert found == Failure(FailureClass.EXCEPTION, "x")

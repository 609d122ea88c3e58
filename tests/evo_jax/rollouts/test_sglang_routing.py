"""Tests of evo_jax/rollouts/sglang_routing.py."""

from hypothesis import given
from hypothesis import strategies as st

from evo_jax.rollouts.sglang_routing import BLOCK_TOKENS, REMEMBERED_BLOCKS, Seat, block_hashes, choose

TOKENS = st.lists(st.integers(0, 3), max_size=100)


@given(TOKENS, TOKENS)
def test_hashes_agree_exactly_on_the_blocks_of_a_shared_prefix(a: list[int], b: list[int]) -> None:
    shared = 0
    while shared < min(len(a), len(b)) and a[shared] == b[shared]:
        shared += 1
    seat = Seat(8)
    seat.add(1, block_hashes(a))
    assert seat.shared_tokens(block_hashes(b)) == shared // BLOCK_TOKENS * BLOCK_TOKENS


def test_a_known_prefix_wins_until_its_server_is_much_busier() -> None:
    hashes = block_hashes(range(64))
    stranger, friend = Seat(8), Seat(8)
    friend.add(4, hashes)
    assert choose([stranger, friend], hashes, 4) == 1  # four more to do, half the capacity: near enough
    friend.add(1, [])
    assert choose([stranger, friend], hashes, 3) == 0
    assert choose([stranger, friend], block_hashes(range(1, 65)), 1) == 0  # nothing shared: the least busy


def test_no_server_is_given_more_than_it_has_room_for() -> None:
    seats = [Seat(8, load=6), Seat(8, load=8)]
    assert choose(seats, [], 2) == 0
    assert choose(seats, [], 3) is None
    assert choose([], [], 1) is None
    assert choose([Seat(4)], [], 16) == 0  # larger than any server: alone


def test_what_a_server_was_sent_is_forgotten_with_its_weights_and_bounded() -> None:
    seat = Seat(8)
    hashes = block_hashes(range(64))
    seat.add(2, hashes)
    seat.forget()
    assert seat.shared_tokens(hashes) == 0
    assert seat.load == 2
    seat.add(1, [n.to_bytes(8) for n in range(REMEMBERED_BLOCKS + 5)])
    assert seat.shared_tokens([(2).to_bytes(8)]) == 0
    assert seat.shared_tokens([(5).to_bytes(8)]) == BLOCK_TOKENS


def test_a_server_that_turned_groups_away_is_sent_less_until_it_has_new_weights() -> None:
    seat = Seat(32)
    for _ in range(4):
        seat.add(8, [])
    for _ in range(2):  # two of four groups were turned away
        seat.remove(8)
        seat.turned_away(8)
    assert not seat.has_room(8)
    seat.remove(8)
    assert seat.has_room(8)
    seat.turned_away(16)
    seat.turned_away(4)
    assert seat.room == 8  # never less than what it took
    seat.forget()
    assert seat.has_room(24)

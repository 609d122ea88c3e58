"""Which levels of an environment the stages look at. Left out: how many instances of each (the stages)."""

MAX_LEVELS = 10


def sampled_levels(max_level: int) -> list[int]:
    """Up to MAX_LEVELS levels from 0 to the top, evenly spread, both ends among them."""
    if max_level < MAX_LEVELS:
        return list(range(max_level + 1))
    return sorted({round(place * max_level / (MAX_LEVELS - 1)) for place in range(MAX_LEVELS)})

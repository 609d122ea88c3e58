"""One hypothesis profile for all tests: properties are checked, not timed."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

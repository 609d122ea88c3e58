"""The error that a launcher's user can meet."""


class LaunchError(Exception):
    """A setting that cannot be used, or a tool that failed; the message names it and says what to do."""

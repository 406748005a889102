"""The one error type for mistakes that a user can mend."""


class UserError(Exception):
    """A mistake in options, files or data: the message says what, where and what to do.

    `main.py` prints the message as one line and exits with status 2; every other exception is a fault of
    the program and keeps its traceback.
    """


class Diverged(UserError):
    """A training whose loss or features are not finite any more."""

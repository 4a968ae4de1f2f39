"""The one exception that a user is meant to read."""


class LazarusError(Exception):
    """A mistake that the user can mend: one sentence with what is wrong and the way out.

    The command line prints it without a traceback and exits with code 2.
    """

"""The one exception that means: something given to us cannot be used, and here is what to do about it."""


class InputError(ValueError):
    """A file, message, parameter or model that cannot be used; the text says what is wrong and what would work.

    The command line prints it without a traceback, the node logs it or refuses the parameter with it.
    """

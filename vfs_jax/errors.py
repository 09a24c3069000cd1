"""The one exception for input that a user can mend."""


class InputError(ValueError):
    """Bad input: a file, folder or option. The message is one line that names it and says the cure.

    Commands print the message alone and end with status 1; every other exception is a defect and keeps its traceback.
    """

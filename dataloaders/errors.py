"""Errors that a user can mend: the scripts print them as one line, without a traceback."""


class UserError(ValueError):
    """The user, or a file of theirs, is wrong; the message says what is wrong and what mends it."""


class FileError(UserError, OSError):
    """A file or folder is missing, or cannot be read or written."""


class DataError(UserError):
    """Videos, frames, split lists or an index cannot be used as they are."""


class TransientReadError(DataError):
    """A video cannot be read here and now, which may be no fault of the file: try again later."""

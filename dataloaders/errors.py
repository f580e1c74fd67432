"""The errors that this package raises for what a user can mend."""


class DataError(ValueError):
    """Videos, frames, split lists or an index cannot be used as they are; the message says which and what to do."""


class TransientReadError(DataError):
    """A video cannot be read here and now, which may be no fault of the file; the next start tries it again."""

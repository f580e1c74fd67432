"""The error that this package raises for what a user can mend."""


class ModelError(ValueError):
    """A model, its options, its weights and the clips it is given do not fit together; the message says which."""

"""The error that this package raises for what a user can mend."""


class ModelError(ValueError):
    """A network, its options, its weights or its clips are wrong; the message says which."""

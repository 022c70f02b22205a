"""Errors of the reader and the writer of records."""


class RecordsError(ValueError):
    """The records cannot be read or continued; the message names the folder and the reason."""

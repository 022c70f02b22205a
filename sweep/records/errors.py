"""Errors of the reader and the writer of records."""

from trainables.errors import OneLineError


class RecordsError(OneLineError, ValueError):
    """The records cannot be read or continued; the message names the folder and the reason."""

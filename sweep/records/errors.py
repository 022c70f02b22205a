"""What a reader of records refuses."""


class RecordsError(ValueError):
    """The folder holds no readable records; the message names it and says why."""

"""The one type of expected failure."""


class PetrieveError(Exception):
    """What went wrong, and what mends it: one line for the person who reads it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy

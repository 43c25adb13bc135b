"""Text that comes from data, for a page."""

import html

from petrieve.gallery.words import printable


def escaped(words: str) -> str:
    """Words as HTML shows them, in an element or in an attribute: nothing in them is markup."""
    return html.escape(printable(words))

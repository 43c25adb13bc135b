"""The encoding of names in zips."""

from typing import Annotated

import typer


def _names(encoding: str | None) -> None:
    """Set the encoding of names in zips, for all that this command reads."""
    from petrieve.extractor.sources.zips.directory import names_are_in

    try:
        names_are_in(encoding)
    except LookupError as error:
        raise typer.BadParameter(f"{encoding} is not an encoding; name one such as `cp437` or `shift_jis`") from error


ZipEncoding = Annotated[
    str | None,
    typer.Option(
        envvar="PETRIEVE_ZIP_ENCODING",
        show_envvar=False,
        callback=_names,
        metavar="NAME",
        help="Of names in zips, if not UTF-8: `cp437` …",
    ),
]

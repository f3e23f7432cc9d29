"""Names of encodings, as users give them."""

from textcls.runtime.errors import InputError


def check_encoding(encoding: str) -> None:
    """Raise InputError for what is no encoding of text."""
    try:
        "".encode(encoding)
        b"".decode(encoding)
    except (LookupError, ValueError):
        raise InputError(f"--encoding {encoding}: unknown; known are utf-8, latin1, cp1252, utf-16, …") from None

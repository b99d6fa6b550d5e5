"""What people may write."""

from kernel.errors import InvalidRequest


def check_text(text: str, *, field: str, chars_max: int, blank: bool = False) -> str:
    """The text, if it can be kept. Raises `InvalidRequest` for NUL, half characters, nothing but space, or too much."""
    if len(text) > chars_max:
        raise _invalid(field, f"at most {chars_max:,} characters.")
    if not blank and not text.strip():
        raise _invalid(field, "this may not be blank.")
    if "\x00" in text:
        raise _invalid(field, "null characters are not allowed.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _invalid(field, "this is not valid Unicode.") from error
    return text


def _invalid(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}", details={"param": field})

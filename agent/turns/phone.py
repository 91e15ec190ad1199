"""Phone numbers, as Google's library knows them."""

from __future__ import annotations

import re
from functools import lru_cache

import phonenumbers

_WRITTEN = re.compile(r"\+[\d\s().-]{5,40}", re.ASCII)


@lru_cache(maxsize=4096)
def e164(text: str | None) -> str | None:
    """The number in E.164 form, such as +4930123456, if the text is an international number that can exist, in
    whatever grouping; else None. What platforms send for withheld numbers, SIP addresses and the like are none."""
    if not text or not _WRITTEN.fullmatch(text):
        return None
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

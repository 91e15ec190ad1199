"""What in a text is private, wherever it stands: phone numbers, e-mail addresses, cards, bank accounts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import phonenumbers

Span = tuple[int, int]  # of a text's characters

_GAP = r"[\s().-]{0,2}"
_INTERNATIONAL = re.compile(rf"\+\d(?:{_GAP}\d){{6,14}}(?!\d)")
_AMERICAN = re.compile(r"(?<![\d.-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\d-])")
_WITH_A_NOUGHT = re.compile(r"(?<![\d.,:+-])\(?0\d(?:[\s()/-]{0,2}\d){6,13}(?![\d:])")
_DATE = re.compile(r"\d{1,2}[/-]\d{1,2}[/-]\d{2}")
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
_ACCOUNT = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")
_SHORTEST_INTEGER = 10  # digits that may be a number without its plus
_SHORTEST_CALLER = 6
_SURELY = 9  # the last digits of a caller's number, however it begins: +49 30 …, 030 …
_LONGEST = 15  # digits of a phone number; what has more is found as it stands
_MOST_LOOKED_UP = 500  # different numbers with a nought, in all countries; a thousandth of a second or two each


class Private:
    """callers: who called; their numbers are found in whatever form. Where there are too many numbers to be looked up,
    the rest are private without that."""

    def __init__(self, callers: Iterable[str]) -> None:
        self._national: dict[str, bool] = {}
        digits = [re.sub(r"\D", "", caller) for caller in callers]
        self._callers = [re.compile(_written_as(one)) for one in digits if len(one) >= _SHORTEST_CALLER]

    def in_text(self, text: str) -> Iterator[Span]:
        for pattern in (*self._callers, _INTERNATIONAL, _AMERICAN, _EMAIL):
            yield from (found.span() for found in pattern.finditer(text))
        for pattern, is_one in ((_WITH_A_NOUGHT, self._is_national), (_CARD, is_card), (_ACCOUNT, is_account)):
            yield from (found.span() for found in pattern.finditer(text) if is_one(found[0]))

    def _is_national(self, text: str) -> bool:
        """Written as within a country, or with 00 for the plus."""
        if _DATE.match(text):
            return False
        digits = re.sub(r"\D", "", text)
        if digits not in self._national:
            if len(self._national) >= _MOST_LOOKED_UP:
                return True
            self._national[digits] = _is_somewhere(digits)
        return self._national[digits]

    def is_integer(self, value: int) -> bool:
        """Whether an integer is a number or a card."""
        digits = str(value)
        if any(pattern.fullmatch(digits) for pattern in self._callers):
            return True
        return len(digits) >= _SHORTEST_INTEGER and (is_card(digits) or _exists(f"+{digits}", None))


def is_card(text: str) -> bool:
    """By its last digit, Luhn's."""
    digits = [int(digit) for digit in reversed(text) if digit.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return len(digits) >= 13 and any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def is_account(text: str) -> bool:
    """An IBAN, by its check digits."""
    plain = text.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 == 1


def _is_somewhere(digits: str) -> bool:
    if digits.startswith("00"):
        return _exists(f"+{digits[2:]}", None)
    return any(_exists(digits, region) for region in phonenumbers.SUPPORTED_REGIONS)


def _exists(text: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, region))
    except phonenumbers.NumberParseException:
        return False


def _written_as(digits: str) -> str:
    """A pattern for a number with or without its beginning, a nought before the rest, and gaps."""
    beginning, rest = (digits[:-_SURELY], digits[-_SURELY:]) if len(digits) <= _LONGEST else ("", digits)
    optional = "".join(f"(?:{digit}{_GAP})?" for digit in beginning)
    return rf"(?<!\d)\+?(?:0{_GAP}|00{_GAP})?{optional}(?:0{_GAP})?{_GAP.join(rest)}(?!\d)"

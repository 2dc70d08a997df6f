"""Redacts the numbers of cards, accounts, identity cards and telephones. Check digits distinguish them from plain numbers."""

import re
from datetime import date

_DIGITS = re.compile("\\d[\\d ().+\u2010\u2011-]{6}")
_ACCOUNT = re.compile(r"(?i)[A-Z]{2}\d\d[ -]?[A-Z\d]{4}")
"""A text without a match of `_DIGITS` or `_ACCOUNT` contains none of these numbers."""
_BEFORE = r"(?<![\w.+-])"
_END = r"(?!\w|[.-]\w)"
"""The end of a number that is not part of a longer word or number. A full stop may follow; ".5" or "-x" may not."""
_UNIT = r"(?!\s?(?:[kmgt]i?b|bytes?|[mun]?s|seconds?|requests?|rows|tokens?|samples?|items|events|of|pods)\b)"

_IDENTITY = re.compile(rf"(?<![\w.-])\d{{17}}[\dXx]{_END}")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_GAP = "[ \u2010\u2011-]{0,2}"
"""The separator between the groups of a card's digits: a space, or hyphens of several kinds."""
_CARD = re.compile(
    rf"(?<![\w.-])(?:\d{{4}}{_GAP}\d{{4}}{_GAP}\d{{4}}{_GAP}\d{{4}}(?:{_GAP}\d{{3}})?|\d{{4}}{_GAP}\d{{6}}{_GAP}\d{{4,5}}"
    rf"|4\d{{3}}(?:{_GAP}\d{{3}}){{3}}{_UNIT}){_END}",
    re.I,
)
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}|6(?:011|2|4[4-9]|5)\d{10,17}"
)
"""The first digits and lengths of cards. No card begins with 1, as times in milliseconds do."""
_IBAN = re.compile(r"(?i)(?<![\w-])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{1,4}){3,8}")
_COUNTRIES = {
    15: frozenset({"NO"}),
    16: frozenset({"BE"}),
    18: frozenset({"DK", "FI", "NL"}),
    19: frozenset({"SI", "MK"}),
    20: frozenset({"AT", "EE", "LT", "LU", "KZ", "XK"}),
    21: frozenset({"CH", "HR", "LV", "LI"}),
    22: frozenset({"BG", "DE", "GB", "GE", "IE", "ME", "RS", "BH"}),
    23: frozenset({"AE", "GI", "IL"}),
    24: frozenset({"AD", "CZ", "ES", "MD", "PK", "RO", "SA", "SE", "SK", "TN"}),
    25: frozenset({"PT"}),
    26: frozenset({"IS", "TR"}),
    27: frozenset({"FR", "GR", "IT", "MC", "SM"}),
    28: frozenset({"AL", "CY", "DO", "GT", "HU", "LB", "PL"}),
    29: frozenset({"BR", "QA", "UA"}),
    30: frozenset({"JO", "KW", "MU"}),
    31: frozenset({"MT"}),
}
"""The countries by the length of their IBAN (IBAN registry). It distinguishes one in lower case or with hyphens from a name."""
_SSN = re.compile(rf"(?<![\w.-])\d{{3}}-\d{{2}}-\d{{4}}{_END}")
_MOBILE = re.compile(rf"(?<![\w.-])(?:(?:\+|00)?86[- ]?)?1[3-9]\d(?:[- ]?\d{{4}}){{2}}{_END}{_UNIT}", re.I)
"""Mobile telephone numbers of mainland China."""
_INTERNATIONAL = re.compile(rf"(?<![\w+])\+\d(?:[ ().-]{{0,2}}\d){{7,14}}{_END}")
_AMERICAN = re.compile(
    rf"(?<![\w.-])(?<!\d )(?:1[-. ])?(?:\([2-9]\d{{2}}\) ?|[2-9]\d{{2}}[-. ])[2-9]\d{{2}}[-. ]\d{{4}}{_END}{_UNIT}", re.I
)
_AFTER_LABEL = re.compile(rf"(?i)\b((?:call|phone|tel|telephone|mobile|cell|sms|fax|whatsapp)\W{{1,3}})\d{{8,12}}{_END}{_UNIT}")
_MEBIBYTE = 1 << 20


def redact_numbers(text: str) -> str:
    """The text without the numbers of cards, accounts, identity cards and telephones."""
    if not (_DIGITS.search(text) or _ACCOUNT.search(text)):
        return text
    text = _IDENTITY.sub(lambda found: "[identity number]" if _is_identity(found[0]) else found[0], text)
    text = _CARD.sub(lambda found: "[card]" if _is_card(found[0]) else found[0], text)
    text = _IBAN.sub(_without_iban, text)
    text = _SSN.sub("[ssn]", text)
    text = _INTERNATIONAL.sub("[phone]", text)
    text = _MOBILE.sub(lambda found: found[0] if _is_bytes(found[0]) else "[phone]", text)
    text = _AMERICAN.sub("[phone]", text)
    return _AFTER_LABEL.sub(r"\1[phone]", text)


def _is_identity(number: str) -> bool:
    """Whether it is a resident identity number of China (GB 11643-1999), by its date of birth and check digit."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    check = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True)) % 11
    return born.year >= 1850 and number[17].upper() == "10X98765432"[check]


def _is_card(written: str) -> bool:
    """Whether the digits are those of a card, with a valid Luhn checksum."""
    digits = [int(digit) for digit in written if digit.isdecimal()]
    if not _ISSUERS.fullmatch("".join(map(str, digits))):
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 and not (len(digits) == 13 and _is_bytes(written))


def _without_iban(found: re.Match[str]) -> str:
    """Redact the account number (ISO 13616) at the start of a match. The match may include words that follow it."""
    written = found[0]
    for end in range(len(written), 14, -1):
        number = re.sub("[ -]", "", written[:end])
        ends = end == len(written) or written[end] in " -"
        plain = written[:end].isupper() and "-" not in written[:end]
        fits = 15 <= len(number) <= 34 if plain else number[:2].upper() in _COUNTRIES.get(len(number), ())
        if ends and written[end - 1] not in " -" and fits and _remainder(number) == 1:
            return "[iban]" + written[end:]
    return written


def _remainder(number: str) -> int:
    return int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97


def _is_bytes(written: str) -> bool:
    """Whether a number is probably a count of bytes: 16 GiB has the form of a telephone number."""
    return written.isdecimal() and int(written) % _MEBIBYTE == 0

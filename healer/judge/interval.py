"""The confidence interval of a share, for people who look at a canary. The judge does not use it."""

from math import sqrt

_Z = 1.959964
"""The 97.5th percentile of the normal distribution."""


def interval(requests: float, bad: float) -> tuple[float, float]:
    """Bounds of the bad share, 0 to 1, with 95 % confidence for independent requests; (0, 1) without requests.

    Wilson's score interval (J. Am. Stat. Assoc. 22, 1927, 209-212): it holds for few requests and for shares near 0, too.
    """
    if requests <= 0:
        return 0.0, 1.0
    share, square = min(1.0, max(0.0, bad / requests)), _Z * _Z
    middle = share + square / (2 * requests)
    half = _Z * sqrt(share * (1 - share) / requests + square / (4 * requests * requests))
    whole = 1 + square / requests
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)

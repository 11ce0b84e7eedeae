"""Wilson's interval of a share."""

from math import sqrt
from statistics import NormalDist

LEVEL = 0.95


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share of n independent items; a tie is half a success.

    Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share = successes / n
    middle = share + z**2 / (2 * n)
    half = z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = ((middle + side) / (1 + z**2 / n) for side in (-half, half))
    # No success and no failure end at 0 and 1 exactly, but for rounding.
    return max(low, 0.0), min(high, 1.0)

"""How many examples hypothesis tries: all of them by default, few in the fast check.

``HYPOTHESIS_PROFILE=fast`` chooses the few. Both profiles try the same examples every time, however
slow the machine, and print how to repeat one that fails.
"""

import os

from hypothesis import HealthCheck, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "full")

FULL_EXAMPLES = 60
FAST_SHARE = 10
"""The fast profile tries this fraction of the examples: one of ten."""


def examples(full: int) -> int:
    """Return how many examples to try of a property that has ``full`` in the full profile."""
    return full if PROFILE == "full" else max(1, full // FAST_SHARE)


def load_profile() -> None:
    """Activate the profile that the environment names."""
    settings.register_profile(
        "relay",
        max_examples=examples(FULL_EXAMPLES),
        derandomize=True,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("relay")

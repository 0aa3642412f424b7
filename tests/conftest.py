"""What holds for every test."""

from hypothesis import HealthCheck, settings

# The same examples every time, however slow the machine, and a way to repeat one that fails.
settings.register_profile(
    "steady",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("steady")

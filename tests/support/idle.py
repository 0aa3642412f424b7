"""A relay in which nothing is stuck, for there is nothing."""

from relay.admin.health import LivenessReport


def idle() -> LivenessReport:
    """How its loops are."""
    return LivenessReport({}, store_is_alive=True, store_wait_s=0.0)

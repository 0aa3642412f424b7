"""What a NATS server says about itself."""

import pytest

from relay.nats.server_info import DEFAULT_MAX_PAYLOAD, ServerInfo, read_server_info


def test_what_is_read() -> None:
    """The fields that relay needs; the others are left alone."""
    info = {"server_name": "n1", "version": "2.15.1", "max_payload": 8, "jetstream": True, "x": 1}
    assert read_server_info(info) == ServerInfo("n1", "2.15.1", 8, jetstream=True)


def test_odd_types_are_as_if_they_were_not_there() -> None:
    """Whoever answers at the port is not trusted."""
    info = {"server_name": 1, "version": None, "max_payload": "big", "jetstream": "yes"}
    assert read_server_info(info) == ServerInfo(max_payload=DEFAULT_MAX_PAYLOAD)


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("2.15.1", (2, 15, 1)), ("2.11.0-RC.2", (2, 11, 0)), ("new", (0, 0, 0)), ("", (0, 0, 0))],
)
def test_versions(version: str, numbers: tuple[int, int, int]) -> None:
    """As numbers, which can be compared."""
    assert ServerInfo(version=version).version_tuple == numbers

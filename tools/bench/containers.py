"""The containers of the benchmark's engine, as its list and its inspections show them."""

from datetime import UTC, datetime

from tools.bench.events import Container, Event

LAYERS = 40
"""With this many image layers an inspection is about as long as a real one, 6 KB."""

_LOWER_DIR = ":".join(
    f"/var/lib/docker/overlay2/{number:064x}/diff" for number in range(1, LAYERS + 1)
)
_ZERO_TIME = "0001-01-01T00:00:00Z"


class ContainerState:
    """The state of an existing container."""

    def __init__(self, container: Container, status: str) -> None:
        self.container = container
        self.status = status
        self.exit_code = 0
        self.is_out_of_memory = False
        self.started_ns = 0
        self.finished_ns = 0


class Containers:
    """All existing containers, kept up to date by events."""

    def __init__(self) -> None:
        self._states: dict[str, ContainerState] = {}

    def apply(self, event: Event, time_ns: int) -> None:
        """Apply an event that happens at this time."""
        container, action, attributes = event
        if action == "destroy":
            self._states.pop(container.id, None)
            return
        state = self._states.get(container.id)
        if state is None:
            status = "created" if action == "create" else "running"  # since before the run
            state = self._states[container.id] = ContainerState(container, status)
        match action:
            case "start":
                state.status, state.started_ns = "running", time_ns
            case "oom":
                state.is_out_of_memory = True
            case "die":
                state.status, state.finished_ns = "exited", time_ns
                state.exit_code = int(attributes["exitCode"])

    def list_all(self) -> list[dict[str, object]]:
        """Return the answer to ``GET /containers/json?all=1``."""
        return [
            {
                "Id": state.container.id,
                "Names": [f"/{state.container.name}"],
                "Image": state.container.image,
                "Labels": state.container.labels,
                "State": state.status,
            }
            for state in self._states.values()
        ]

    def inspect(self, container_id: str) -> dict[str, object] | None:
        """Return the answer to ``GET /containers/ID/json``; None if there is no such container."""
        state = self._states.get(container_id)
        if state is None:
            return None
        return {
            "Id": container_id,
            "Name": f"/{state.container.name}",
            "RestartCount": 0,
            "State": {
                "Status": state.status,
                "Running": state.status == "running",
                "Restarting": False,
                "OOMKilled": state.is_out_of_memory,
                "ExitCode": state.exit_code,
                "StartedAt": _format_time(state.started_ns),
                "FinishedAt": _format_time(state.finished_ns),
            },
            "Config": {"Image": state.container.image, "Labels": state.container.labels},
            "GraphDriver": {"Name": "overlay2", "Data": {"LowerDir": _LOWER_DIR}},
        }


def _format_time(time_ns: int) -> str:
    """Return a time as the engine writes it, with nine digits of a second."""
    if not time_ns:
        return _ZERO_TIME
    seconds, nanos = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09}Z"

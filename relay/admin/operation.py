"""What an operation is that commands can ask of relay: one row of a table.

The tables are in the modules of their nouns, as `relay.admin.incidents`, and are joined by
`relay.admin.operations`.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from relay.core.errors import RelayError

RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT")


class OperationError(RelayError):
    """An operation failed, or could not be performed."""


class Refused(OperationError):
    """What was asked for cannot be done; the message says what to ask for instead."""


class TooMany(OperationError):
    """There are as many of these as there may be."""


class Operation(msgspec.Struct, Generic[RequestT, AnswerT], frozen=True, eq=False):
    """One operation: how it is requested over HTTP, and what performs it."""

    name: str
    method: Literal["GET", "POST", "DELETE"]
    """Not GET if the operation changes something; POST if it needs a body."""
    path: str
    """Fields of the request may stand in it, as in ``/api/incidents/{id}``."""
    request: type[RequestT]
    """What the body of a POST holds, or the path and query of others; ``NoneType`` if they hold
    nothing."""
    answer: type[AnswerT]
    perform: Callable[[Any, RequestT], Awaitable[AnswerT]]
    """Called with the `relay.admin.operations.LocalOperations` of the process that has the store
    open."""
    uses_store: bool = False
    """Whether the operation needs the store, which does not answer while its disk fails."""
    timeout_s: float | None = None
    """How long a client waits for the answer; None for `relay.admin.client.ANSWER_TIMEOUT_S`."""


class OperationCaller(ABC):
    """Performs operations, or asks the daemon to."""

    @abstractmethod
    async def call(self, operation: Operation[RequestT, AnswerT], request: RequestT) -> AnswerT:
        """Perform an operation and return its answer. Raises `OperationError`."""

"""The table of admin operations."""

from types import NoneType

from relay.admin import operations
from relay.admin.operations import OPERATIONS, AdminOperations, LocalOperations, Operation


def test_the_table_is_complete() -> None:
    """Every operation of the module is in it, and so has a route."""
    defined = [each for each in vars(operations).values() if isinstance(each, Operation)]
    assert set(defined) == set(OPERATIONS)


def test_names_and_routes_are_unique() -> None:
    """Each operation has its own name, and its own path and method."""
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)


def test_get_requests_have_no_body() -> None:
    """An operation that needs a body is a POST."""
    assert all(each.request is NoneType for each in OPERATIONS if each.method == "GET")


def test_each_operation_has_a_method_and_a_handler() -> None:
    """Commands call one method for each row, and every handler performs a row."""
    methods = [name for name in vars(AdminOperations) if not name.startswith("_")]
    assert len(methods) - len(["call"]) == len(OPERATIONS)
    handlers = {it for name, it in vars(LocalOperations).items() if name.startswith("on_")}
    assert handlers <= {operation.perform for operation in OPERATIONS}

"""The table of admin operations."""

import re
from types import NoneType

import msgspec

from relay.admin import incidents, operations, silences
from relay.admin.operation import Operation
from relay.admin.operations import OPERATIONS, AdminOperations, LocalOperations


def test_the_table_is_complete() -> None:
    """Every operation of the modules is in it, and so has a route."""
    modules = (operations, incidents, silences)
    found = (each for module in modules for each in vars(module).values())
    defined = [each for each in found if isinstance(each, Operation)]
    assert set(defined) == set(OPERATIONS)


def test_names_and_routes_are_unique() -> None:
    """Each operation has its own name, and its own path and method."""
    assert len({each.name for each in OPERATIONS}) == len(OPERATIONS)
    assert len({(each.method, each.path) for each in OPERATIONS}) == len(OPERATIONS)


def test_the_fields_of_a_get_fit_into_its_url() -> None:
    """It has no body: all are texts, numbers or booleans, and those in its path are required."""
    for operation in OPERATIONS:
        if operation.method == "POST" or operation.request is NoneType:
            continue
        fields = {field.name: field for field in msgspec.structs.fields(operation.request)}
        for name in re.findall(r"\{(\w+)\}", operation.path):
            assert fields[name].required
        for field in fields.values():
            kind = msgspec.json.schema(field.type)
            assert {kind.get("type", "any-of")} <= {"string", "integer", "boolean", "any-of"}


def test_each_operation_has_a_method_and_a_handler() -> None:
    """Commands call one method for each row, and every handler performs a row."""
    methods = [name for name in dir(AdminOperations) if not name.startswith("_")]
    assert len(methods) - len(["call"]) == len(OPERATIONS)
    handlers = {it for name, it in vars(LocalOperations).items() if name.startswith("on_")}
    assert handlers <= {operation.perform for operation in OPERATIONS}

"""Rewrites the syntax tree of a template so that all use of time and memory is counted."""

from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from relay.config.templates.errors import TemplateError, TemplateErrorKind

_NODES_PER_STEP = 8
"""This many nodes (names, constants, tests ...) in a loop or a macro count as one step a round."""


def instrument(tree: nodes.Template) -> nodes.Template:
    """Insert the counters. Raises `TemplateError` for syntax that cannot be counted."""
    instrumented: nodes.Template = _Instrumenter().visit(tree)
    return instrumented


class _Instrumenter(NodeTransformer):
    """Wraps the nodes that take time or memory in counting filters, and refuses the others."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's names
        if node.recursive:
            _refuse(node, "a recursive loop")
        steps = nodes.Const(_steps_per_round(node))
        self.generic_visit(node)
        node.iter = _apply_filter(node.iter, "_count_items", steps)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        steps = nodes.Const(_steps_per_round(node))
        self.generic_visit(node)
        count = _apply_filter(steps, "_count_steps")
        node.body.insert(0, nodes.ExprStmt(count, lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _apply_filter(nodes.List(node.nodes, lineno=node.lineno), "_join")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        node.expr = _apply_filter(node.expr, "_require_comparable")
        for operand in node.ops:
            is_in = operand.op in ("in", "notin")
            check = "_count_value" if is_in else "_require_comparable"
            operand.expr = _apply_filter(operand.expr, check)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):  # Jinja compiles a slice to plain Python
            node.node = _apply_filter(node.node, "_count_value")
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Call:  # noqa: N802
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            _refuse(node, "arguments with '*'")
        self.generic_visit(node)
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Const:  # noqa: N802
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> Any:  # noqa: N802
        return _require_constants(node)

    def visit_Tuple(self, node: nodes.Tuple) -> Any:  # noqa: N802
        if node.ctx == "load":
            return _require_constants(node)
        return node

    def visit_Dict(self, node: nodes.Dict) -> NoReturn:  # noqa: N802
        _refuse(node, "a mapping")

    def visit_Name(self, node: nodes.Name) -> nodes.Name:  # noqa: N802
        if node.name in ("varargs", "kwargs", "caller", "self", "super"):
            _refuse(node, repr(node.name))
        return node

    def visit_ScopedEvalContextModifier(self, node: nodes.Node) -> NoReturn:  # noqa: N802
        _refuse(node, "'autoescape'")

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, _MULTI_TEMPLATE_NODES):
            _refuse(node, "another template")
        return super().generic_visit(node, *args, **kwargs)


_MULTI_TEMPLATE_NODES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


def _refuse(node: nodes.Node, what: str) -> NoReturn:
    raise TemplateError(
        TemplateErrorKind.SYNTAX,
        f"line {node.lineno}: it holds {what}, which relay does not support",
    )


def _require_constants(node: nodes.List | nodes.Tuple) -> Any:
    items = node.items
    if not all(isinstance(item, nodes.Const) for item in items):
        _refuse(node, "a list of more than constants")
    return node


def _steps_per_round(node: nodes.Node) -> int:
    """Return the steps of a loop's round or a macro's call, without those counted elsewhere."""
    return 1 + sum(1 for _ in node.find_all(nodes.Node)) // _NODES_PER_STEP


def _apply_filter(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)

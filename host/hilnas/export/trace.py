"""torch.fx tracing: a module to the list of its calls, with errors that name the place."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from hilnas.export.errors import UnsupportedModuleError

_CONTROL_FLOW = (
    "its forward cannot be traced ({error}); decide on sizes and options in __init__, "
    "not on tensors or their shapes in forward"
)
_IN_PLACE = {functional.relu_, torch.relu_, operator.iadd, operator.imul, operator.isub, operator.itruediv}
# Those whose second argument is `inplace`.
_INPLACE_SECOND = {
    functional.relu,
    functional.relu6,
    functional.hardswish,
    functional.hardsigmoid,
    functional.silu,
}


def trace(module: nn.Module) -> fx.Graph:
    """The calls of `module.forward`, unused ones dropped."""
    tracer = _Tracer()
    try:
        graph = tracer.trace(module, _defaults(module))
    # Tracing runs the user's own forward: whatever it raises means that it cannot be traced.
    except Exception as error:
        what = type(module if tracer.current is None else tracer.current).__name__
        raise UnsupportedModuleError(what, tracer.path, _CONTROL_FLOW.format(error=error)) from error
    for node in reversed(graph.nodes):
        if node.op not in ("output", "placeholder") and not node.users and not _works_in_place(node, module):
            graph.erase_node(node)
    return graph


def functionalize(graph: fx.Graph, module: nn.Module) -> None:
    """Let whoever reads a tensor after an operator changed it in place read that operator's result."""
    place = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        if _works_in_place(node, module) and node.args and isinstance(node.args[0], fx.Node):
            later = {user for user in node.args[0].users if place[user] > place[node]}
            node.args[0].replace_all_uses_with(node, later.__contains__)
            if not node.users:
                graph.erase_node(node)


def whole(module: nn.Module) -> nn.Module:
    """`module`, in a container if it is itself one of torch's layers, which are not traced into."""
    return nn.Sequential(module) if _is_layer(module) else module


def node_path(node: fx.Node) -> str:
    """The dotted path of the module that a node is, or in whose forward it stands."""
    if node.op == "call_module":
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}).values())
    return str(stack[-1][0]) if stack else ""


def _works_in_place(node: fx.Node, module: nn.Module) -> bool:
    if node.op == "call_module":
        return bool(getattr(module.get_submodule(str(node.target)), "inplace", False))
    if node.op == "call_function" and (node.kwargs.get("inplace") or node.target in _IN_PLACE):
        return True
    if node.op == "call_function" and node.target in _INPLACE_SECOND:
        return len(node.args) > 1 and node.args[1] is True
    return node.op == "call_method" and str(node.target).endswith("_") and not str(node.target).endswith("__")


class _Tracer(fx.Tracer):
    """Remembers where it is, and leaves whole only torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        self.current: nn.Module | None = None

    def call_module(self, m: nn.Module, *rest: Any, **more: Any) -> Any:
        before = self.path, self.current
        self.path, self.current = self.path_of_module(m), m
        result = super().call_module(m, *rest, **more)
        # Not in a finally clause: after an error the innermost module is the one to name.
        self.path, self.current = before
        return result

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_layer(m)


def _is_layer(module: nn.Module) -> bool:
    """Whether its forward is torch's own: also that of a subclass that keeps it, or of a parametrized one."""
    home = getattr(type(module).forward, "__module__", "")
    return home.startswith("torch.nn.modules.") and not isinstance(module, nn.Sequential)


def _defaults(module: nn.Module) -> dict[str, Any]:
    """Optional arguments of forward, frozen at their defaults."""
    parameters = signature(module.forward).parameters.values()
    return {p.name: p.default for p in list(parameters)[1:] if p.default is not Parameter.empty}


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """`module` in evaluation mode and without gradients, put back afterwards."""
    training = [child for child in module.modules() if child.training]
    for child in training:
        child.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for child in training:
            child.training = True

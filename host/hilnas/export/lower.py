"""From traced calls to the graph: resolves arguments and hands each call to its rule."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from hilnas.export.build import GraphBuilder
from hilnas.export.errors import ExportError, UnsupportedModuleError
from hilnas.export.ir import Graph, Shape, Value
from hilnas.export.remedies import remedy
from hilnas.export.rules import IDENTITIES, Call, find_rule
from hilnas.export.trace import evaluation_mode, functionalize, node_path, trace, whole


def lower(module: nn.Module, shape: Shape) -> Graph:
    """The graph of `module` for an input of `shape`, batch 1."""
    # Also reading a weight may depend on the mode: spectral normalization updates itself in training.
    with evaluation_mode(module):
        return _Lowering(whole(module), shape).run()


class _Lowering:
    def __init__(self, module: nn.Module, shape: Shape) -> None:
        self._module = module
        self._builder = GraphBuilder()
        self._input = Value("input", shape)
        self._known: dict[fx.Node, Any] = {}

    def run(self) -> Graph:
        graph = trace(self._module)
        self._skip_identities(graph)
        functionalize(graph, self._module)
        result: Any = None
        for node in graph.nodes:
            if node.op == "output":
                result = self._resolve(node.args[0])
            else:
                self._remember(node, self._result_of(node))
        if not isinstance(result, Value):
            kind = type(self._module).__name__
            raise UnsupportedModuleError(kind, "", "forward must return one tensor that depends on its input")
        self._builder.name = "output"
        return self._builder.finish(self._input, result)

    def _skip_identities(self, graph: fx.Graph) -> None:
        """Drop dropout and the like first, so that reader counts are those of real layers."""
        for node in list(graph.nodes):
            target = self._submodule(node) if node.op == "call_module" else node.target
            if (type(target) if isinstance(target, nn.Module) else target) in IDENTITIES and node.args:
                node.replace_all_uses_with(node.args[0])
                graph.erase_node(node)

    def _remember(self, node: fx.Node, result: Any) -> None:
        self._known[node] = result
        for value in result if isinstance(result, tuple) else (result,):
            if isinstance(value, Value):
                readers = sum(not _is_shape_query(user) for user in node.users)
                already = self._builder.uses.get(value)
                self._builder.uses[value] = readers if already is None else already - 1 + readers

    def _result_of(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._placeholder(node)
        if node.op == "get_attr":
            return _attribute(self._module, str(node.target))
        args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
        if node.op == "call_module":
            layer = self._submodule(node)
            _refresh(layer)
            return self._apply(node, type(layer), layer, args, kwargs)
        if not _has_value(args) and not _has_value(kwargs):
            return self._constant(node, args, kwargs)
        if _is_shape_query(node):
            return _shape_answer(node, *args[:2], **kwargs)
        return self._apply(node, node.target, None, args, kwargs)

    def _apply(self, node: fx.Node, target: Any, layer: nn.Module | None, args: Any, kwargs: Any) -> Any:
        path = node_path(node)
        what = target.__name__ if hasattr(target, "__name__") else f"Tensor.{target}"
        rule = find_rule(target, layer)
        if rule is None:
            raise UnsupportedModuleError(what, path, remedy(target))
        self._builder.name = path if layer is not None else ".".join(filter(None, (path, node.name)))
        try:
            return rule(Call(self._builder, what, path, layer), *args, **kwargs)
        except ExportError:
            raise
        # Rules take the arguments they know by torch's names; any others end here, not in a TypeError.
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise UnsupportedModuleError(
                what, path, f"called in a way that is not supported ({error})"
            ) from error

    def _placeholder(self, node: fx.Node) -> Any:
        if not self._known:
            return self._input
        if not node.users:  # frozen at its default while tracing
            return None
        raise UnsupportedModuleError(
            f"the argument '{node.target}' of forward", "", "a network has one input; give others a default"
        )

    def _submodule(self, node: fx.Node) -> nn.Module:
        return self._module.get_submodule(str(node.target))

    def _constant(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """A call on constants alone (self.weight[:8]) is computed now."""
        try:
            with torch.no_grad():
                if node.op == "call_method":
                    return getattr(args[0], str(node.target))(*args[1:], **kwargs)
                return node.target(*args, **kwargs)  # type: ignore[operator]
        except (TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
            raise UnsupportedModuleError(str(node.target), node_path(node), str(error)) from error

    def _resolve(self, argument: Any) -> Any:
        return fx.node.map_aggregate(argument, lambda a: self._known[a] if isinstance(a, fx.Node) else a)


def _refresh(layer: nn.Module) -> None:
    """Let torch.nn.utils (pruning, weight normalization) put the weight together as before a call."""
    for hook in layer._forward_pre_hooks.values():
        if type(hook).__module__.startswith("torch.nn.utils."):
            hook(layer, ())


def _is_shape_query(node: fx.Node) -> bool:
    """Whether a call asks for x.shape, x.size(…), x.ndim or the like, and not for x's numbers."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel")
    return node.target is getattr and node.args[1] in ("shape", "ndim")


def _shape_answer(node: fx.Node, x: Value, dim: Any = None) -> Any:
    """What a shape query gives: known now, with batch 1."""
    size = torch.Size(x.shape)
    if node.target in ("size", getattr) and node.args[1:] != ("ndim",):
        return size if node.target is getattr or dim is None else size[dim]
    return size.numel() if node.target == "numel" else len(size)


def _has_value(argument: Any) -> bool:
    if isinstance(argument, dict):
        argument = tuple(argument.values())
    if isinstance(argument, tuple | list):
        return any(_has_value(item) for item in argument)
    return isinstance(argument, Value)


def _attribute(module: nn.Module, path: str) -> Any:
    found: Any = module
    for part in path.split("."):
        found = getattr(found, part)
    return found.detach() if isinstance(found, torch.Tensor) else found

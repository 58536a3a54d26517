"""An ONNX model of a deployed module: one member is translated, and its nodes repeated for the others."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from skmm._optional import import_optional
from skmm.deployment._graph import Argument, Decision, FirstMember, Program, export_program
from skmm.deployment._module import DeployedModule
from skmm.deployment._trees import Trees

OUTPUT = "output"
_SAID = "members.said"  # what all members say, the input of what follows
_MEMBER = "module.members.0."  # how the weights of the first member are called in its program


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporters' news of packages that are not installed and of their own progress."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _as_nodes(module: DeployedModule) -> Iterator[dict[Any, Any]]:
    """The trees of a module as one node each, for the block; how they are translated."""
    values = import_optional("onnxscript.values", extra="export")
    learned = values.Opset("ai.onnx.ml", 3)
    trees = [m for m in module.modules() if isinstance(m, Trees)]

    def translated(x: Any, number: int, n_outputs: int) -> Any:
        return learned.TreeEnsembleRegressor(x, n_targets=n_outputs, **trees[number].attributes())

    try:
        for number, own in enumerate(trees):
            own.number = number
        yield {torch.ops.skmm.trees.default: translated} if trees else {}
    finally:
        for own in trees:
            own.number = None


def _translate(program: Any, names: list[str], output: str, table: dict[Any, Any]) -> Any:
    """An exported program as an ONNX model, without functions, its weights in it."""
    onnx = import_optional("onnx", extra="export")
    import_optional("onnxscript", extra="export")
    translated = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        optimize=False,
        input_names=names,
        output_names=[output],
        custom_translation_table=table or None,
    )
    import_optional("onnx.inliner", extra="export")
    return onnx.inliner.inline_local_functions(translated.model_proto)


def _distinct(network: nn.Module) -> None:
    """Other weights for a network, no two alike: equal ones would be joined where only one member has them equal."""
    with torch.no_grad():
        for number, tensor in enumerate(_tensors(network).values()):
            if tensor.is_floating_point():
                tensor.copy_(torch.linspace(0.1, 0.9, tensor.numel()).view_as(tensor) + number)


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers by name, tied ones once."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _repeat(model: Any, members: Iterable[nn.Module]) -> list[str]:
    """Nodes and weights of the first member once more for each; returns what each says. The first's are replaced."""
    onnx = import_optional("onnx", extra="export")
    graph = model.graph
    own = {initializer.name: initializer for initializer in graph.initializer if _MEMBER in initializer.name}
    dependent = set(own)
    kept, repeated = [], []
    for node in graph.node:
        if dependent.intersection(node.input):
            dependent.update(node.output)
            repeated.append(node)
        else:
            kept.append(node)
    others = [initializer for initializer in graph.initializer if initializer.name not in own]
    said, nodes, initializers = [], [], []
    for k, member in enumerate(members):
        tensors = _tensors(member)

        def renamed(name: str, k: int = k) -> str:
            return f"member{k}/{name}" if name in dependent else name

        for name in own:
            array = tensors[name.removeprefix(_MEMBER)].detach().numpy()
            initializers.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), renamed(name)))
        for node in repeated:
            copied = onnx.NodeProto()
            copied.CopyFrom(node)
            copied.name = f"member{k}/{node.name}"
            copied.input[:] = map(renamed, node.input)
            copied.output[:] = map(renamed, node.output)
            nodes.append(copied)
        said.append(renamed(graph.output[0].name))
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept + nodes)
    graph.initializer.extend(others + initializers)
    return said


def _check_weights(program: Any, model: Any) -> None:
    """Every weight that the program of a member reads is in the model: the translation might have joined two."""
    signature, names = program.graph_signature, {initializer.name for initializer in model.graph.initializer}
    read = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lost = sorted(weights[name] for name in read & weights.keys() if weights[name] not in names)
    if lost:
        raise RuntimeError(f"the translation to ONNX lost the weights {lost}.")


def assemble(module: DeployedModule, arguments: list[Argument]) -> Any:
    """The ONNX model of a deployed module.

    Returns
    -------
    onnx.ModelProto
        Inputs by the names of the arguments, one output :data:`OUTPUT`; of any number of samples and steps.
    """
    names = [argument.name for argument in arguments]
    with _quietly(), _as_nodes(module) as table:
        weights = {name: tensor.clone() for name, tensor in _tensors(module.members[0]).items()}
        try:
            _distinct(module.members[0])
            program = export_program(FirstMember(module, arguments))
            model = _translate(program, names, _SAID, table)
            example = program.module()(*(argument.example() for argument in arguments))
        finally:
            with torch.no_grad():
                for name, tensor in _tensors(module.members[0]).items():
                    tensor.copy_(weights[name])
        _check_weights(program, model)
        said = _repeat(model, module.members)
        if module.emits:
            return _finish(model, said[0], names, arguments, None)
        shape = tuple(f"{OUTPUT}{i}" if i == 0 else int(size) for i, size in enumerate(example.shape))
        first = Argument(_SAID, "", "values", example.dtype, (len(said), "batch", *shape[1:]))
        rest = export_program(Decision(module, arguments), [first, *arguments])
        return _finish(model, said, names, arguments, _translate(rest, [_SAID, *names], OUTPUT, table))


def _finish(model: Any, said: Any, names: list[str], arguments: list[Argument], rest: Any) -> Any:
    """Members and what follows as one model; of several outputs of members the rest reads all in one."""
    onnx = import_optional("onnx", extra="export")
    graph = model.graph
    if rest is None:
        graph.node.append(onnx.helper.make_node("Identity", [said], [OUTPUT]))
        output = onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, ["batch", "frames", None])
    else:
        axis = onnx.numpy_helper.from_array(np.array([0]), "members.axis")
        each = [f"{name}/each" for name in said]
        graph.initializer.append(axis)
        for name, one in zip(said, each, strict=True):
            graph.node.append(onnx.helper.make_node("Unsqueeze", [name, axis.name], [one]))
        graph.node.append(onnx.helper.make_node("Concat", each, [_SAID], axis=0))
        rest = onnx.compose.add_prefix(rest, "decision/", rename_inputs=False, rename_outputs=False)
        graph.node.extend(rest.graph.node)
        graph.initializer.extend(rest.graph.initializer)
        domains = {entry.domain for entry in model.opset_import}
        model.opset_import.extend(entry for entry in rest.opset_import if entry.domain not in domains)
        output = rest.graph.output[0]
    del graph.output[:], graph.value_info[:]
    graph.output.append(output)
    made = [graph_input for graph_input in graph.input if graph_input.name in names]
    known = {graph_input.name for graph_input in made}
    made += [] if rest is None else [i for i in rest.graph.input if i.name in names and i.name not in known]
    del graph.input[:]
    graph.input.extend(made)
    onnx.checker.check_model(model)
    return model


__all__ = ["OUTPUT", "Program", "assemble"]

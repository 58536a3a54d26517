"""An ONNX model of a deployed module: one member is translated, and its nodes repeated for the others."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from skmm._optional import import_optional
from skmm.deployment._arguments import OUTPUT, Argument
from skmm.deployment._graph import Decision, FirstMember, example, export_program
from skmm.deployment._module import DeployedModule
from skmm.deployment._nodes import OPSETS
from skmm.deployment._trees import Trees

_SAID = "members.said"  # what all members say, the input of what follows
_MEMBER = "module.members.0."  # how the weights of the first member are called in its program


@contextlib.contextmanager
def quietly() -> Iterator[None]:
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
    values = import_optional("onnxscript.values", extra="onnx")
    learned = values.Opset("ai.onnx.ml", 3)
    trees = [m for m in module.modules() if isinstance(m, Trees)]

    def translated(x: Any, number: int, n_outputs: int) -> Any:
        return learned.TreeEnsembleRegressor(x, n_targets=n_outputs, **trees[number].attributes())

    try:
        for number, own in enumerate(trees):
            own.number = number
        yield {torch.ops.skmm.trees.default: translated, torch.ops.skmm.recurrent.default: _recurrent}
    finally:
        for own in trees:
            own.number = None


def _recurrent(x: Any, weights: list[Any], cell: str, n_layers: int) -> Any:
    """Recurrent layers as nodes, whose gates stand in another order than torch's."""
    op = import_optional("onnxscript", extra="onnx").opset18
    # reset, update, new -> update, reset, new; and input, forget, cell, output -> input, output, forget, cell
    order = (1, 0, 2) if cell == "GRU" else (0, 3, 1, 2)

    def gates(array: Any) -> Any:
        parts = op.Split(array, axis=0, num_outputs=len(order))
        return op.Concat(*(parts[i] for i in order), axis=0)

    def alone(array: Any) -> Any:
        return op.Unsqueeze(array, op.Constant(value_ints=[0]))

    x = op.Transpose(x, perm=[1, 0, 2])
    for layer in range(n_layers):
        of_input, of_state, bias_input, bias_state = (gates(own) for own in weights[4 * layer : 4 * layer + 4])
        bias = alone(op.Concat(bias_input, bias_state, axis=0))
        hidden_size = int(weights[4 * layer + 1].shape[1])
        given = (x, alone(of_input), alone(of_state), bias)
        if cell == "GRU":
            states, _ = op.GRU(*given, hidden_size=hidden_size, linear_before_reset=1)
        else:
            states, _, _ = op.LSTM(*given, hidden_size=hidden_size)
        x = op.Squeeze(states, op.Constant(value_ints=[1]))
    return op.Transpose(x, perm=[1, 0, 2])


def _translate(program: Any, names: list[str], output: str, table: dict[Any, Any]) -> Any:
    """An exported program as an ONNX model, without functions, its weights in it."""
    onnx = import_optional("onnx", extra="onnx")
    import_optional("onnxscript", extra="onnx")
    translated: Any = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        optimize=False,
        opset_version=OPSETS[""],
        input_names=names,
        output_names=[output],
        custom_translation_table=table,
    )
    import_optional("onnx.inliner", extra="onnx")
    return onnx.inliner.inline_local_functions(translated.model_proto)


def _distinct(network: nn.Module) -> None:
    """Other weights for a network, no two alike: equal ones would be joined, which others need not have equal."""
    with torch.no_grad():
        for number, tensor in enumerate(_tensors(network).values()):
            if tensor.is_floating_point():
                tensor.copy_(torch.linspace(0.1, 0.9, tensor.numel()).view_as(tensor) + number)


def _tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers by name, tied ones once."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _repeat(model: Any, members: nn.ModuleList) -> list[str]:
    """Repeat the nodes of the first member for each, with its weights; the names of what each says."""
    onnx = import_optional("onnx", extra="onnx")
    graph = model.graph
    # not constants that a forward makes, which are the same for all
    weights = {_MEMBER + name for name in _tensors(members[0])}
    own = [initializer.name for initializer in graph.initializer if initializer.name in weights]
    dependent = set(own)
    kept, repeated = [], []
    for node in graph.node:
        if dependent.intersection(node.input):
            dependent.update(node.output)
            repeated.append(node)
        else:
            kept.append(node)
    others = [initializer for initializer in graph.initializer if initializer.name not in weights]
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
    read, waiting = set(), [node for node in program.graph.nodes if node.op == "output"]
    while waiting:  # back from what is said: what is computed for a head that is not there is no loss
        for node in waiting.pop().all_input_nodes:
            if node.name not in read:
                read.add(node.name)
                waiting.append(node)
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
    with quietly(), _as_nodes(module) as table:
        weights = {name: tensor.clone() for name, tensor in _tensors(module.members[0]).items()}
        try:
            _distinct(module.members[0])
            program = export_program(FirstMember(module, arguments))
            model = _translate(program, names, _SAID, table)
            first = program.module()(*map(example, arguments))
        finally:
            with torch.no_grad():
                for name, tensor in _tensors(module.members[0]).items():
                    tensor.copy_(weights[name])
        _check_weights(program, model)
        said = _repeat(model, module.members)
        if module.emits:
            return _finish(model, said, names, None)
        whole = Argument(_SAID, "", "values", "float32", (len(said), "batch", *first.shape[1:]))
        rest = export_program(Decision(module, arguments), [whole, *arguments])
        return _finish(model, said, names, _translate(rest, [_SAID, *names], OUTPUT, table))


def _finish(model: Any, said: list[str], names: list[str], rest: Any) -> Any:
    """Members, of which each has ``said`` an output, and what follows, if anything does, as one model."""
    onnx = import_optional("onnx", extra="onnx")
    graph = model.graph
    if rest is None:
        graph.node.append(onnx.helper.make_node("Identity", said, [OUTPUT]))
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
    for node in graph.node:
        del node.metadata_props[:]  # lines of the code that it was made of: up to half of a small file
    onnx.checker.check_model(model)
    return model

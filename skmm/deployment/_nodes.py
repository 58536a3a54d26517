"""Nodes of an ONNX graph, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from skmm._optional import import_optional

# of the operators that models are made of, by domain
OPSETS = {"": 20, "ai.onnx.ml": 3, "com.microsoft": 1}
_PREFIX = "columns/"  # of what is not to meet a name of the model


class NoNodes(Exception):
    """What a step computes has no form as nodes; says why."""


class Nodes:
    """Nodes and weights that are put before a model."""

    def __init__(self) -> None:
        self._onnx = import_optional("onnx", extra="onnx")
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._count = 0

    def _name(self) -> str:
        self._count += 1
        return f"{_PREFIX}{self._count}"

    def constant(self, array: Any) -> str:
        """A weight, by its name."""
        name = self._name()
        self.weights.append(self._onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, domain: str = "", **attributes: Any) -> str:
        """What a node gives, by its name."""
        name = self._name() if output is None else output
        self.nodes.append(self._onnx.helper.make_node(kind, inputs, [name], domain=domain, **attributes))
        return name

    def double(self, x: str) -> str:
        """An array as float64."""
        return self.add("Cast", x, to=self._onnx.TensorProto.DOUBLE)

    def concat(self, parts: list[str]) -> str:
        """Columns side by side."""
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def merge(self, model: Any, x: str) -> str:
        """The first output of a model of one input."""
        model = self._onnx.compose.add_prefix(model, f"{self._name()}/")
        self.add("Identity", x, output=model.graph.input[0].name)
        self.nodes.extend(model.graph.node)
        self.weights.extend(model.graph.initializer)
        return model.graph.output[0].name

    def finish(self, x: str, present: str, output: str) -> None:
        """An array under a name, zeros where a mask (n,) says that there is nothing; its type is told later."""
        mask = self.add("Unsqueeze", present, self.constant(np.array([1])))
        zeroed = self.add("Where", mask, self.double(x), self.constant(np.zeros((1, 1))))
        self.add("Cast", zeroed, output=output, to=self._onnx.TensorProto.DOUBLE)

    def with_types(self, dtypes: Mapping[str, str]) -> tuple[list[Any], list[Any]]:
        """Nodes and weights; what is finished has these types."""
        for node in self.nodes:
            if node.output[0] in dtypes:
                kind = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtypes[node.output[0]]))
                node.attribute[0].i = kind
        return self.nodes, self.weights


def run(convert: Callable[[Nodes, str], str], x: np.ndarray) -> np.ndarray:
    """What nodes make of an array of numbers or strings."""
    onnx, runtime = import_optional("onnx", extra="onnx"), import_optional("onnxruntime", extra="onnx")
    nodes = Nodes()
    nodes.add("Cast", convert(nodes, "x"), output="y", to=onnx.TensorProto.DOUBLE)
    kinds = onnx.TensorProto
    given = onnx.helper.make_tensor_value_info("x", kinds.STRING if x.dtype == object else kinds.DOUBLE, None)
    made = onnx.helper.make_tensor_value_info("y", kinds.DOUBLE, None)
    graph = onnx.helper.make_graph(nodes.nodes, "steps", [given], [made], nodes.weights)
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]

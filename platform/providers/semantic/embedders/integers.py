"""A model whose weights are kept as int8, made to multiply them as integers.

ONNX Runtime turns such weights into floats when it loads a model, and reads four bytes of each for every text. Here each
product `x @ (cast(q) * scale)` becomes two of integers: x is written as a sum of two parts of eight bits, each with a scale
and a zero point of its own (ONNX's operator DynamicQuantizeLinear). The second part is what the first leaves, so that x is
off by its range / (2 * 255 * 255) at most. Processors that add up products of bytes in one step (AVX-512 VNNI, AVX-VNNI,
Arm's dot product) do both in less time than the one of floats. Rows of a table are looked up before they become floats,
so that it isn't kept as floats, either.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

CONTRIBUTED = "com.microsoft"
"""The operators that ONNX Runtime adds to ONNX's own."""
HIGH, LOW = "high", "low"


def with_integer_products(model: bytes) -> bytes:
    """An ONNX model that is as `model`, with its int8 matrices multiplied as integers, and its int8 tables kept so.

    Raises ImportError without the package `onnx`, and ValueError where there is nothing to change.
    """
    import onnx
    from onnx import helper

    parsed = onnx.load_from_string(model)
    rewriting = _Rewriting(parsed.graph)
    nodes = list(rewriting.nodes())
    if not rewriting.products:
        raise ValueError("There are no int8 weights to multiply with.")
    del parsed.graph.node[:]
    parsed.graph.node.extend(_needed(nodes, [output.name for output in parsed.graph.output]))
    read = {name for node in parsed.graph.node for name in node.input}
    kept = [constant for constant in parsed.graph.initializer if constant.name in read]
    del parsed.graph.initializer[:]
    parsed.graph.initializer.extend(kept)
    parsed.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))
    rewritten: bytes = parsed.SerializeToString()
    return rewritten


def adds_up_exactly() -> bool:
    """Whether ONNX Runtime's sums of products of bytes are right here, also of the largest: on some older processors they
    stop at what two bytes hold (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).

    Raises ImportError without the packages `onnx` and `onnxruntime`.
    """
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    depth = 64
    matrix = np.stack([np.full(depth, size, dtype=np.int8) for size in (-128, 127)], axis=1)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["bytes", "matrix"], ["sums"])],
        "sums",
        [helper.make_tensor_value_info("bytes", TensorProto.UINT8, [1, depth])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 2])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (sums,) = session.run(None, {"bytes": np.full((1, depth), 255, dtype=np.uint8)})
    return bool(np.array_equal(sums, [[depth * 255 * -128, depth * 255 * 127]]))


class _Rewriting:
    """The nodes of a graph one after another, those that read int8 weights replaced; `products` counts the latter."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._constants = {constant.name: constant for constant in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._parted: set[str] = set()
        self._biases = dict(self._found_biases())
        self._folded = {add.output[0] for add, _ in self._biases.values()}
        self.products = 0

    def nodes(self) -> Iterator[Any]:
        for node in list(self._graph.node):
            if node.op_type == "MatMul" and (weight := self._int8(node.input[1], scale_of=1)):
                self.products += 1
                yield from self._parts(node.input[0])
                yield from self._product(node, *weight)
            elif node.op_type == "Gather" and (weight := self._int8(node.input[0], scale_of=0)):
                yield from self._rows(node, *weight)
            elif not self._folded.intersection(node.output):
                yield node

    def _int8(self, name: str, *, scale_of: int) -> tuple[str, str] | None:
        """The int8 matrix, and the scale of each of its rows (0) or columns (1), of which a value is made; None if it isn't."""
        from onnx import TensorProto

        made = self._makers.get(name)
        if made is None or made.op_type != "Mul":
            return None
        cast, scale = self._makers.get(made.input[0]), self._constants.get(made.input[1])
        if cast is None or cast.op_type != "Cast" or scale is None:
            return None
        matrix = self._constants.get(cast.input[0])
        if matrix is None or matrix.data_type != TensorProto.INT8 or len(matrix.dims) != 2:
            return None
        shape = [1, 1]
        shape[scale_of] = matrix.dims[scale_of]
        return (matrix.name, scale.name) if list(scale.dims) == shape else None

    def _found_biases(self) -> Iterator[tuple[str, tuple[Any, str]]]:
        """By what is added to: the node that adds a vector to it and to which nobody else looks, and the vector."""
        for node in self._graph.node:
            if node.op_type != "Add":
                continue
            for product, bias in (node.input, reversed(node.input)):
                constant, maker = self._constants.get(bias), self._makers.get(product)
                if constant is None or len(constant.dims) != 1 or maker is None or maker.op_type != "MatMul":
                    continue
                if self._readers[product] == 1 and self._int8(maker.input[1], scale_of=1):
                    yield product, (node, bias)

    def _parts(self, factor: str) -> Iterator[Any]:
        """What makes `factor` into its two parts: once, however many products it is in."""
        from onnx.helper import make_node

        if factor in self._parted:
            return
        self._parted.add(factor)
        told, left = f"{factor}/told", f"{factor}/left"
        yield make_node("DynamicQuantizeLinear", [factor], _part(factor, HIGH), name=f"{factor}/{HIGH}")
        yield make_node("DequantizeLinear", _part(factor, HIGH), [told], name=told)
        yield make_node("Sub", [factor, told], [left], name=left)
        yield make_node("DynamicQuantizeLinear", [left], _part(factor, LOW), name=f"{factor}/{LOW}")

    def _product(self, node: Any, matrix: str, scale: str) -> Iterator[Any]:
        """The sum of the products of the two parts, and of the bias if one was added."""
        from onnx.helper import make_node

        add, bias = self._biases.get(node.output[0], (node, None))
        columns = self._as_vector(scale)
        summands = [f"{node.output[0]}/{which}" for which in (HIGH, LOW)]
        for which, summand in zip((HIGH, LOW), summands, strict=True):
            part, part_scale, zero = _part(node.input[0], which)
            inputs = [part, matrix, part_scale, columns, zero]
            if which == LOW and bias is not None:
                inputs += ["", bias]
            yield make_node("MatMulIntegerToFloat", inputs, [summand], name=summand, domain=CONTRIBUTED)
        yield make_node("Add", summands, list(add.output), name=f"{node.output[0]}/sum")

    def _rows(self, node: Any, matrix: str, scale: str) -> Iterator[Any]:
        """Rows of a table, made floats after they were looked up."""
        from onnx import TensorProto
        from onnx.helper import make_node

        (found,) = node.output
        which = node.input[1]
        yield make_node("Gather", [matrix, which], [f"{found}/bytes"], name=f"{found}/bytes", axis=0)
        yield make_node("Cast", [f"{found}/bytes"], [f"{found}/floats"], name=f"{found}/floats", to=TensorProto.FLOAT)
        yield make_node("Gather", [scale, which], [f"{found}/scale"], name=f"{found}/scale", axis=0)
        yield make_node("Mul", [f"{found}/floats", f"{found}/scale"], [found], name=f"{found}/scaled")

    def _as_vector(self, scale: str) -> str:
        """The name of a scale of columns without the axis of rows."""
        from onnx import numpy_helper

        name = f"{scale}/columns"
        if name not in self._constants:
            flat = numpy_helper.to_array(self._constants[scale]).astype(np.float32).reshape(-1)
            self._constants[name] = numpy_helper.from_array(flat, name)
            self._graph.initializer.append(self._constants[name])
        return name


def _part(factor: str, which: str) -> list[str]:
    """The names of a part's bytes, scale and zero point."""
    return [f"{factor}/{which}/{of}" for of in ("bytes", "scale", "zero")]


def _needed(nodes: list[Any], outputs: list[str]) -> list[Any]:
    """The nodes without those whose outputs nobody reads."""
    read, kept = set(outputs), []
    for node in reversed(nodes):
        if not read.isdisjoint(node.output):
            read.update(node.input)
            kept.append(node)
    return kept[::-1]

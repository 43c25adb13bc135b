"""Decoded pixels → probabilities as an ONNX graph: resize, crop, normalisation, DenseNet, head; or the head alone.

The network is torchvision's, layer by layer and under its names; a runtime folds the batch norms as it sees fit.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from petrieve.extractor.pixels.view import CROP, MAX_ASPECT, RESIZE
from petrieve.extractor.trunks.kinds import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto
    from torch import Tensor

EPSILON = 1e-5  # torch's own of batch norms
OPSET, IR_VERSION = 18, 8  # of December 2022: onnxruntime 1.14 and later


def network(kind: Kind, tensors: "Mapping[str, Tensor]", weight: "np.ndarray", bias: "np.ndarray") -> "ModelProto":
    """An ONNX model of a trunk by torchvision's names and a head, weight (C, D) and bias (C,).

    `photo` (N, H, W, 3) → `probabilities` (N, C) and `embedding` (N, D).
    """
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    graph = _Graph(tensors)
    graph.add("Flatten", _trunk(graph, kind, _view(graph, kind)), name="embedding")
    _head(graph, weight, bias)
    photo = make_tensor_value_info("photo", TensorProto.UINT8, ["photos", "height", "width", 3])
    return _model(graph, photo, probabilities=len(bias), embedding=weight.shape[1])


def head_network(weight: "np.ndarray", bias: "np.ndarray") -> "ModelProto":
    """An ONNX model of a head alone: `embedding` (N, D) → `probabilities` (N, C)."""
    from onnx import TensorProto
    from onnx.helper import make_tensor_value_info

    graph = _Graph({})
    _head(graph, weight, bias)
    embedding = make_tensor_value_info("embedding", TensorProto.FLOAT, ["photos", weight.shape[1]])
    return _model(graph, embedding, probabilities=len(bias))


def _head(graph: "_Graph", weight: "np.ndarray", bias: "np.ndarray") -> None:
    graph.add("Softmax", graph.add("Gemm", "embedding", weight, bias, transB=1), name="probabilities")


def _model(graph: "_Graph", given: "ValueInfoProto", **sizes: int) -> "ModelProto":
    """A graph as a model, from one input to outputs (N, size) by their names."""
    from onnx import TensorProto, helper

    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["photos", size]) for name, size in sizes.items()]
    whole = helper.make_graph(graph.nodes, "petrieve", [given], made, list(graph.constants.values()))
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(whole, opset_imports=opset, ir_version=IR_VERSION, producer_name="petrieve")


class _Graph:
    """Nodes and constants, in the order in which they are computed."""

    def __init__(self, tensors: "Mapping[str, Tensor]") -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._tensors = tensors

    def add(self, op: str, *inputs: "str | ArrayLike", name: str = "", **attributes: Any) -> str:
        """The name of an operator's output; inputs that are numbers become constants.

        Python's int becomes int64, its float float64.
        """
        from onnx.helper import make_node

        output = name or f"{op.lower()}{len(self.nodes)}"
        names = [one if isinstance(one, str) else self._constant(f"{output}.{i}", one) for i, one in enumerate(inputs)]
        self.nodes.append(make_node(op, names, [output], name=output, **attributes))
        return output

    def convolve(self, maps: str, layer: str, *, pad: int = 0, stride: int = 1) -> str:
        """The maps after one of the trunk's convolutions."""
        kernel = self._weights(layer, "weight")
        return self.add("Conv", maps, *kernel, name=layer, pads=[pad] * 4, strides=[stride] * 2)

    def norm_relu(self, maps: str, layer: str) -> str:
        """The maps after one of the trunk's batch norms and the ReLU that always follows it."""
        numbers = self._weights(layer, "weight", "bias", "running_mean", "running_var")
        return self.add("Relu", self.add("BatchNormalization", maps, *numbers, name=layer, epsilon=EPSILON))

    def _weights(self, layer: str, *parts: str) -> list[str]:
        names = [f"features.{layer}.{part}" for part in parts]
        return [self._constant(name, self._tensors[name].numpy()) for name in names]

    def _constant(self, name: str, numbers: "ArrayLike") -> str:
        import numpy as np
        from onnx.numpy_helper import from_array

        self.constants[name] = from_array(np.asarray(numbers), name)
        return name


def _view(graph: _Graph, kind: Kind) -> str:
    """`canonical_view` of the input, normalised: (N, 3, 224, 224)."""
    import numpy as np
    from onnx import TensorProto

    whole = graph.add("Shape", "photo", start=1, end=3)  # (H, W), from which all sizes follow, in whole numbers
    short = graph.add("ReduceMin", whole, [0], keepdims=1)
    kept = graph.add("Min", whole, graph.add("Mul", short, [MAX_ASPECT]))
    start = _margin(graph, whole, kept)
    pixels = graph.add("Slice", "photo", start, graph.add("Add", start, kept), [1, 2])
    pixels = graph.add("Transpose", graph.add("Cast", pixels, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    resized = graph.add("Div", graph.add("Mul", kept, [RESIZE]), short)
    rows, columns = _resize(graph, kept, resized, axis=0), _resize(graph, kept, resized, axis=1)
    pixels = _rounded(graph, graph.add("MatMul", pixels, graph.add("Transpose", columns, perm=[1, 0])))
    pixels = _rounded(graph, graph.add("MatMul", rows, pixels))  # (N, 3, 224, 224)
    mean, std = (255 * np.array(three, np.float32).reshape(3, 1, 1) for three in (kind.mean, kind.std))
    return graph.add("Div", graph.add("Sub", pixels, mean), std)


def _resize(graph: _Graph, sizes: str, resized: str, *, axis: int) -> str:
    """The matrix (224, size) that resizes one axis and keeps its middle, as torch computes it for uint8.

    ONNX has an antialiased Resize, but onnxruntime takes its weights from float32: one pixel of 200 comes out one level
    off, and that alone moves probabilities by up to 1e-3.
    """
    import numpy as np
    from onnx import TensorProto

    def number(of: str) -> str:
        return graph.add("Cast", graph.add("Gather", of, [axis]), to=TensorProto.DOUBLE)  # (1,)

    def centres(count: str) -> str:
        return graph.add("Range", 0.5, graph.add("Add", graph.add("Squeeze", count), 0.5), 1.0)

    size, out = number(sizes), number(resized)
    scale = graph.add("Div", size, out)
    middles = graph.add("Mul", graph.add("Unsqueeze", centres(out), [1]), scale)  # (out, 1)
    apart = graph.add("Sub", centres(size), middles)
    reach = graph.add("Div", graph.add("Abs", apart), graph.add("Max", scale, 1.0))
    triangle = graph.add("Max", graph.add("Sub", 1.0, reach), 0.0)  # (out, size)
    weights = graph.add("Div", triangle, graph.add("ReduceSum", triangle, [1]))
    # Torch rounds weights to as many bits as leave the largest below 2^15.
    largest = graph.add("ReduceMax", weights)
    room = graph.add("Div", graph.add("Log", graph.add("Div", 2**15 - 0.5, largest)), np.log(2))
    unit = graph.add("Pow", 2.0, graph.add("Min", graph.add("Floor", room), 22.0))
    steps = graph.add("Floor", graph.add("Add", graph.add("Mul", weights, unit), 0.5))
    matrix = graph.add("Cast", graph.add("Div", steps, unit), to=TensorProto.FLOAT)
    start = graph.add("Gather", _margin(graph, resized, [CROP, CROP]), [axis])
    return graph.add("Slice", matrix, start, graph.add("Add", start, [CROP]), [0])


def _rounded(graph: _Graph, maps: str) -> str:
    """Maps as whole levels."""
    import numpy as np

    return graph.add("Floor", graph.add("Add", maps, np.float32(0.5)))


def _margin(graph: _Graph, whole: str, kept: "str | ArrayLike") -> str:
    """What is cut off before the middle (H, W), halves rounded as Python does."""
    import numpy as np
    from onnx import TensorProto

    gap = graph.add("Cast", graph.add("Sub", whole, kept), to=TensorProto.FLOAT)
    return graph.add("Cast", graph.add("Round", graph.add("Mul", gap, np.float32(0.5))), to=TensorProto.INT64)


def _trunk(graph: _Graph, kind: Kind, maps: str) -> str:
    """The network's features, ReLU, global average: (N, D, 1, 1)."""
    maps = graph.norm_relu(graph.convolve(maps, "conv0", pad=3, stride=2), "norm0")
    maps = graph.add("MaxPool", maps, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for block, layers in enumerate(kind.layers, start=1):
        for layer in range(1, layers + 1):
            name = f"denseblock{block}.denselayer{layer}"
            narrow = graph.convolve(graph.norm_relu(maps, f"{name}.norm1"), f"{name}.conv1")
            new = graph.convolve(graph.norm_relu(narrow, f"{name}.norm2"), f"{name}.conv2", pad=1)
            maps = graph.add("Concat", maps, new, axis=1)
        if block < len(kind.layers):
            halved = graph.convolve(graph.norm_relu(maps, f"transition{block}.norm"), f"transition{block}.conv")
            maps = graph.add("AveragePool", halved, kernel_shape=[2, 2], strides=[2, 2])
    return graph.add("GlobalAveragePool", graph.norm_relu(maps, "norm5"))

"""fp16 and bf16 where the device computes in them: each kind of node is tried on the provider, and what it lacks stays fp32.

Which operators a provider computes in bfloat16 differs with its version and the operator's (CUDA: products, sums, most
activations; x86 processors: none), and trees are computed in fp32 only. No list of ours would stay true, so each kind of node
is tried as a graph of one node, which loads or does not. Casts stand where the two meet; inputs and outputs of the model stay
what they were.

    x ── cast ── MatMul ── Relu ── MatMul ── cast ── what is left in fp32 ── y
                   narrow weights: half the bytes

ARM's processors with bfloat16 take another way: the fp32 graph, whose products ONNX Runtime rounds to bfloat16 itself
(`runtime.FAST_MATH`). Such a file differs by its metadata only, so that it is a version of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulewise.compressing import runtime

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Attention"})
_IR = 10
# they give the type that they are told to, whatever they read
_TYPED = frozenset({"Cast", "CastLike", "Bernoulli", "EyeLike", "RandomNormalLike", "RandomUniformLike"})

Tried = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of numbers that take two bytes: ONNX's name and number of it."""

    name: str
    number: int
    since: int  # the operator set that a model is brought to
    most: float  # what is out of the type's range becomes this: masks are the most negative fp32

    @property
    def tail(self) -> str:
        """What the names of such values end with."""
        return f"__{self.name}"


FP16 = Kind("float16", 10, 1, 65504.0)
BF16 = Kind("bfloat16", 16, 22, 3.38e38)  # from operator set 22 on convolutions and poolings may be


def convert(model: Any, kind: Kind, takes: Tried) -> Any:
    """Return the ONNX model with every node in a narrow type that `takes` (a model of that node alone) says yes to.

    Raises ValueError if no product is among them.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(_of_late(model, kind.since))
    graph = model.graph
    types = _types(graph)
    asked: dict[bytes, bool] = {}
    nodes: list[Any] = []
    narrow: set[str] = set()  # what is there in the narrow type
    wide = {value.name for value in graph.input} | {value.name for value in graph.initializer}
    found = False
    for node in graph.node:
        taken, given = _places(node, model, kind, types)
        alone = _alone(node, model, kind, types, taken, given) if taken and given else None
        key = b"" if alone is None else alone.SerializeToString()
        if alone is None or not asked.setdefault(key, takes(alone) if key not in asked else False):
            nodes += [*_widened(_reads(node), kind, narrow, wide), node]
            wide.update(node.output)
            continue
        found = found or node.op_type in PRODUCTS
        for place in taken:
            name = node.input[place]
            if name not in narrow:
                narrow.add(name)
                nodes.append(_cast(name, name + kind.tail, kind.number))
            node.input[place] = name + kind.tail
        for place in given:
            narrow.add(node.output[place])
            node.output[place] += kind.tail
        nodes.append(node)
    if not found:
        raise ValueError(f"none of its products can be computed in {kind.name} here")
    nodes += _widened((value.name for value in graph.output), kind, narrow, wide)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    _fold_weights(graph, kind)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"in {kind.name} it is no model any more: {error}") from None
    return model


def taken_by(device: str) -> Tried:
    """Return who tries a model on a device: whether it loads there, and not on the processor in its stead."""
    import onnxruntime

    def takes(model: Any) -> bool:
        options = runtime.options()
        if device != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=[runtime.PROVIDERS[device]]
            )
        except runtime.runtime_errors():
            return False
        return True

    return takes


def mark(base: Path, path: Path) -> None:
    """Write the same model as a version of its own, for a session with `runtime.FAST_MATH`."""
    import onnx

    model = onnx.load(str(base))
    model.metadata_props.add(key="joulewise.precision", value="bf16")
    onnx.save(model, str(path))


def capability() -> tuple[int, int] | None:
    """Return the least CUDA compute capability of the GPUs here; None if nothing tells."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return min(
            tuple(pynvml.nvmlDeviceGetCudaComputeCapability(pynvml.nvmlDeviceGetHandleByIndex(k)))
            for k in range(pynvml.nvmlDeviceGetCount())
        )
    except (pynvml.NVMLError, ValueError):  # no driver, or no GPU
        return None


def _of_late(model: Any, since: int) -> Any:
    """Return the model at an operator set, or as it is where that cannot be had."""
    import onnx

    opset = next((one for one in model.opset_import if one.domain in ("", "ai.onnx")), None)
    if opset is None or opset.version >= since:
        return model
    try:
        told = onnx.version_converter.convert_version(model, since)
    except (onnx.version_converter.ConvertError, RuntimeError):
        return model
    told.ir_version = max(told.ir_version, _IR)
    return told


def _types(graph: Any) -> dict[str, int]:
    """Return the type of all that is known to be a tensor, by its name."""
    told = {value.name: value.data_type for value in graph.initializer}
    values = (*graph.input, *graph.value_info, *graph.output)
    return told | {value.name: value.type.tensor_type.elem_type for value in values}


def _places(node: Any, model: Any, kind: Kind, types: dict[str, int]) -> tuple[list[int], list[int]]:
    """Return which inputs and outputs of a node would be narrow: those that are fp32 and may be, by the operator's schema."""
    import onnx

    version = next((one.version for one in model.opset_import if one.domain == node.domain), 0)
    if node.op_type in _TYPED or not version or not onnx.defs.has(node.op_type, node.domain):
        return [], []
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    may = {
        one.type_param_str
        for one in schema.type_constraints
        if f"tensor({kind.name})" in one.allowed_type_strs
    }

    def of(names: Any, formal: Any) -> list[int]:
        return [
            place
            for place, name in enumerate(names)
            if types.get(name) == onnx.TensorProto.FLOAT
            and formal[min(place, len(formal) - 1)].type_str in may
        ]

    return of(node.input, schema.inputs), of(node.output, schema.outputs)


def _alone(
    node: Any, model: Any, kind: Kind, types: dict[str, int], taken: list[int], given: list[int]
) -> Any:
    """Return a model of a node alone, in the narrow type; None if it holds graphs of its own, or its other inputs are not known."""
    import onnx
    from onnx import helper

    if any(
        attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
        for attribute in node.attribute
    ):
        return None
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    inputs: list[Any] = []
    outputs: list[Any] = []
    for names, narrow, told, letter in ((copy.input, taken, inputs, "i"), (copy.output, given, outputs, "o")):
        for place, name in enumerate(names):
            if not name:
                continue
            number = kind.number if place in narrow else types.get(name, 0)
            if not number:
                return None
            names[place] = f"{letter}{place}"
            told.append(helper.make_tensor_value_info(names[place], number, None))
    alone = helper.make_graph([copy], "alone", inputs, outputs)
    return helper.make_model(alone, opset_imports=model.opset_import, ir_version=max(model.ir_version, _IR))


def _reads(node: Any) -> Iterator[str]:
    """Yield what a node reads, its own graphs included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (value.name for value in graph.output)


def _widened(names: Any, kind: Kind, narrow: set[str], wide: set[str]) -> Iterator[Any]:
    """Yield casts to fp32 of what is there in the narrow type only."""
    from onnx import TensorProto

    for name in names:
        if name in narrow and name not in wide:
            wide.add(name)
            yield _cast(name + kind.tail, name, TensorProto.FLOAT)


def _cast(name: str, to: str, number: int) -> Any:
    from onnx import helper

    return helper.make_node("Cast", [name], [to], f"cast_{to}", to=number)


def _fold_weights(graph: Any, kind: Kind) -> None:
    """Put narrow weights into the file where a cast would make them at each start; those nobody reads in fp32 go."""
    import ml_dtypes  # onnx brings it
    import numpy as np
    from onnx import numpy_helper

    dtype = ml_dtypes.bfloat16 if kind is BF16 else np.float16
    weights = {value.name: value for value in graph.initializer}
    fed = {value.name for value in graph.input}
    kept = []
    for node in graph.node:
        name = node.input[0] if node.op_type == "Cast" else ""
        if name in weights and name not in fed and node.output[0] == name + kind.tail:
            values = np.clip(numpy_helper.to_array(weights[name]), -kind.most, kind.most).astype(dtype)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    read = {name for node in kept for name in _reads(node)} | {value.name for value in graph.output}
    left = [value for value in graph.initializer if value.name in read]
    del graph.initializer[:]
    graph.initializer.extend(left)

"""Writes the peer of the benchmark: the compact model's architecture as ONNX, in 32-bit floats and in dynamic int8.

The plain graph has the shape that PyTorch's exporter gives, so that onnxruntime's own transformer optimizer recognises
and fuses it; int8 is then onnxruntime's dynamic quantization of the fused graph. Both are checked here, against a
forward pass in NumPy, before anything is measured.
"""

import argparse
import json
import math
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from onnxruntime.transformers.fusion_options import FusionOptions

import bert as reference
from bert import Bert

OPSET = 17
# How far an exported graph may be from the NumPy forward pass. int8's rounding is what it is (0.2 to 0.3, on each
# machine's kernels a little different), and grows with the logits: more is a graph that went wrong.
LIMITS = {"fp32": {"largest_logit_difference": 1e-3}, "int8": {"relative_error": 0.5}}
PACKAGES = ("onnx", "onnxruntime", "numpy", "safetensors", "tokenizers")


class Graph:
    """Collects nodes and constants; each call returns the name of the output."""

    def __init__(self):
        self.nodes = []
        self.constants = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant, kept once."""
        self.constants.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes) -> str:
        """A node of one output."""
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def scalar(self, name: str, value: float) -> str:
        """A 32-bit float constant of no dimensions."""
        return self.constant(name, np.array(value, np.float32))

    def integers(self, name: str, *values: int) -> str:
        """A 64-bit integer constant of one dimension."""
        return self.constant(name, np.array(values, np.int64))


def linear(graph: Graph, bert: Bert, name: str, x: str) -> str:
    """MatMul and Add, as exporters write a linear layer over three dimensions."""
    weight = graph.constant(f"{name}.weight", bert.weights[f"{name}.weight"].T)
    bias = graph.constant(f"{name}.bias", bert.weights[f"{name}.bias"])
    return graph.op("Add", graph.op("MatMul", x, weight), bias)


def layer_norm(graph: Graph, bert: Bert, name: str, x: str) -> str:
    """The LayerNormalization of opset 17."""
    weight = graph.constant(f"{name}.weight", bert.weights[f"{name}.weight"])
    bias = graph.constant(f"{name}.bias", bert.weights[f"{name}.bias"])
    return graph.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=bert.epsilon)


def gelu(graph: Graph, x: str) -> str:
    """The exact GELU, by erf."""
    half = graph.op("Mul", x, graph.scalar("half", 0.5))
    erf = graph.op("Erf", graph.op("Div", x, graph.scalar("root_two", math.sqrt(2))))
    return graph.op("Mul", half, graph.op("Add", erf, graph.scalar("one", 1)))


def embeddings(graph: Graph, bert: Bert) -> str:
    """[1, tokens, width]. Token type 0 is added to the positions beforehand: one gather less for the peer."""
    w = bert.weights
    positions = w["embeddings.position_embeddings.weight"] + w["embeddings.token_type_embeddings.weight"][0]
    words = graph.constant("words", w["embeddings.word_embeddings.weight"])
    shape = graph.op("Shape", "input_ids")
    index = graph.constant("index_one", np.array(1, np.int64))
    tokens = graph.op("Gather", shape, index, axis=0)
    zero = graph.constant("zero", np.array(0, np.int64))
    counted = graph.op("Range", zero, tokens, graph.constant("step", np.array(1, np.int64)))
    places = graph.op("Expand", graph.op("Unsqueeze", counted, graph.integers("first_axis", 0)), shape)
    word = graph.op("Gather", words, "input_ids", axis=0)
    place = graph.op("Gather", graph.constant("positions", positions), places, axis=0)
    return layer_norm(graph, bert, "embeddings.LayerNorm", graph.op("Add", word, place))


def attention(graph: Graph, bert: Bert, layer: str, x: str) -> str:
    """Self-attention without a mask: one message at a time has no padding."""
    head_width = bert.width // bert.heads
    split = graph.integers("split_heads", 0, 0, bert.heads, head_width)

    def projected(name: str, order: list[int]) -> str:
        heads = graph.op("Reshape", linear(graph, bert, f"{layer}.attention.self.{name}", x), split)
        return graph.op("Transpose", heads, perm=order)

    scores = graph.op("MatMul", projected("query", [0, 2, 1, 3]), projected("key", [0, 2, 3, 1]))
    scores = graph.op("Div", scores, graph.scalar("root_of_head_width", math.sqrt(head_width)))
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), projected("value", [0, 2, 1, 3]))
    joined = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.op("Reshape", joined, graph.integers("join_heads", 0, 0, bert.width))


def plain_model(bert: Bert) -> onnx.ModelProto:
    """input_ids [1, tokens] int64 to logits [1, 6]."""
    graph = Graph()
    x = embeddings(graph, bert)
    for index in range(bert.layers):
        layer = f"encoder.layer.{index}"
        mixed = linear(graph, bert, f"{layer}.attention.output.dense", attention(graph, bert, layer, x))
        x = layer_norm(graph, bert, f"{layer}.attention.output.LayerNorm", graph.op("Add", mixed, x))
        inner = gelu(graph, linear(graph, bert, f"{layer}.intermediate.dense", x))
        outer = linear(graph, bert, f"{layer}.output.dense", inner)
        x = layer_norm(graph, bert, f"{layer}.output.LayerNorm", graph.op("Add", outer, x))
    pooled = graph.op("ReduceMean", x, axes=[1], keepdims=0)
    head = graph.constant(reference.HEAD_WEIGHT, bert.weights[reference.HEAD_WEIGHT])
    bias = graph.constant(reference.HEAD_BIAS, bert.weights[reference.HEAD_BIAS])
    graph.nodes.append(helper.make_node("Gemm", [pooled, head, bias], ["logits"], name="head", transB=1))
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", reference.LABELS])
    body = helper.make_graph(graph.nodes, "compact", [ids], [out], list(graph.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def write_fused(bert: Bert, plain: onnx.ModelProto, file: Path) -> dict[str, int]:
    """Writes what onnxruntime's transformer optimizer makes of it; the count of each fused operator."""
    # Level 0: the session in the browser applies onnxruntime's own passes, for the machine that it runs on.
    result = optimizer.optimize_model(
        plain, model_type="bert", num_heads=bert.heads, hidden_size=bert.width,
        optimization_options=FusionOptions("bert"), opt_level=0)
    fused = {name: count for name, count in result.get_fused_operator_statistics().items() if count}
    wanted = {"EmbedLayerNormalization": 1, "Attention": bert.layers, "BiasGelu": bert.layers,
              "SkipLayerNormalization": 2 * bert.layers}
    if fused != wanted:
        raise SystemExit(f"the optimizer fused {fused}, expected {wanted}: the peer would be slower than it can be")
    result.save_model_to_file(str(file))
    return fused


def agreement(file: Path, expected: list[dict]) -> dict[str, float]:
    """How far the graph's logits are from the reference's, over all messages."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {"input_ids": np.array([message["ids"]], np.int64)})[0]
                            for message in expected])
    right = np.array([message["logits"] for message in expected])
    differences = found - right
    return {
        "largest_logit_difference": float(np.abs(differences).max()),
        # Root mean square of the differences, in standard deviations of the reference's logits.
        "relative_error": float(np.sqrt((differences**2).mean()) / right.std()),
        "same_label": int((found.argmax(-1) == right.argmax(-1)).sum()),
    }


def checked(file: Path, expected: list[dict]) -> dict:
    """Describes a graph that agrees with the reference; another ends the run."""
    found, limits = agreement(file, expected), LIMITS[file.stem]
    for figure, limit in limits.items():
        if not found[figure] <= limit:
            raise SystemExit(f"{file.name}: {figure} to the NumPy reference is {found[figure]}, at most {limit} is right")
    print(f"{file.name}: {file.stat().st_size} bytes, {found} over {len(expected)} messages", file=sys.stderr)
    return {**reference.described(file), "limits": limits, **found}


def main():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, required=True, metavar="DIR",
                        help="folder in Hugging Face's layout: config.json, model.safetensors, tokenizer.json")
    parser.add_argument("--messages", type=Path, required=True, metavar="JSON", help="list of texts")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    bert = reference.load(arguments.encoder)
    tokenizer = reference.tokenizer(arguments.encoder)
    texts = json.loads(arguments.messages.read_text(encoding="utf-8"))
    expected = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        expected.append({"text": text, "ids": ids, "logits": reference.logits(bert, ids).tolist()})

    fp32, int8 = arguments.out / "fp32.onnx", arguments.out / "int8.onnx"
    fused = write_fused(bert, plain_model(bert), fp32)
    # Shapes can't be inferred through fused operators, so the quantizer is told that the rest is in floats.
    quantize_dynamic(fp32, int8, weight_type=QuantType.QInt8, extra_options={"DefaultTensorType": TensorProto.FLOAT})
    shutil.copyfile(arguments.encoder / "tokenizer.json", arguments.out / "tokenizer.json")
    about = {
        "versions": {name: version(name) for name in PACKAGES},
        "encoder": bert.files,
        "trained_head": bert.trained_head,
        "layer_parameters": bert.layer_parameters,
        "fused": fused,
        "models": {"fp32": checked(fp32, expected), "int8": checked(int8, expected)},
        "messages": expected,
    }
    (arguments.out / "peer.json").write_text(json.dumps(about, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

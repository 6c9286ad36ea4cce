"""A BERT encoder with mean pooling and a linear head: its weights from a folder, and its forward pass in NumPy.

The forward pass is the reference that the exported graphs are held against; it uses nothing but NumPy.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

LABELS = 6
HEAD_WEIGHT = "classifier.weight"
HEAD_BIAS = "classifier.bias"
# Of a head that the folder does not have: its values do not change how long anything takes.
HEAD_SEED = 13

_erf = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True)
class Bert:
    """Weights by their Hugging Face names, 32-bit floats; matrices are [out, in]."""

    weights: dict[str, np.ndarray]
    layers: int
    heads: int
    epsilon: float
    trained_head: bool
    files: dict[str, dict]

    @property
    def layer_parameters(self) -> int:
        """Parameters of the encoder's layers, without embeddings and head."""
        return sum(value.size for name, value in self.weights.items() if name.startswith("encoder.layer."))

    @property
    def width(self) -> int:
        """Length of one token's vector."""
        return self.weights["embeddings.word_embeddings.weight"].shape[1]


def required(config: dict, field: str, file: Path):
    """The value of `field`, which a usable configuration has."""
    if field not in config:
        raise SystemExit(f"{file}: the field {field} is missing")
    return config[field]


def described(file: Path) -> dict:
    """Size and digest of a file, so that a result says what it was measured on."""
    return {"bytes": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def tensor_names(layers: int) -> list[str]:
    """Names of the encoder's tensors, without the pooler, which mean pooling replaces."""
    inner = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
             "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"]
    names = [f"embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")]
    parts = ["embeddings.LayerNorm", *(f"encoder.layer.{layer}.{name}" for layer in range(layers) for name in inner)]
    return names + [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]


def add_head(weights: dict[str, np.ndarray], width: int, file: Path) -> bool:
    """Checks the head, or draws one from a fixed seed; whether it was there."""
    trained = HEAD_WEIGHT in weights
    if not trained:
        random = np.random.default_rng(HEAD_SEED)
        weights[HEAD_WEIGHT] = random.normal(0, width ** -0.5, (LABELS, width)).astype(np.float32)
        weights[HEAD_BIAS] = np.zeros(LABELS, np.float32)
    for name, shape in ((HEAD_WEIGHT, (LABELS, width)), (HEAD_BIAS, (LABELS,))):
        if name not in weights or weights[name].shape != shape:
            raise SystemExit(f"{file}: the tensor {name} is missing or not of shape {shape}")
    return trained


def load(folder: Path) -> Bert:
    """Reads config.json and model.safetensors; a head that is not there is drawn from a fixed seed."""
    files = {name: folder / name for name in ("config.json", "model.safetensors", "tokenizer.json")}
    for file in files.values():
        if not file.is_file():
            raise SystemExit(f"{file} is missing: the encoder's folder needs {', '.join(files)}")
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    for field, wanted in (("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(field, wanted) != wanted:
            raise SystemExit(f"{files['config.json']}: {field} is {config[field]!r}, expected {wanted!r}")
    stored = load_file(files["model.safetensors"])
    weights = {name.removeprefix("bert."): value.astype(np.float32) for name, value in stored.items()
               if value.dtype.kind == "f"}
    layers = required(config, "num_hidden_layers", files["config.json"])
    for name in tensor_names(layers):
        if name not in weights:
            raise SystemExit(f"{files['model.safetensors']}: the tensor {name} is missing")
    trained = add_head(weights, required(config, "hidden_size", files["config.json"]), files["model.safetensors"])
    return Bert(
        weights=weights,
        layers=layers,
        heads=required(config, "num_attention_heads", files["config.json"]),
        epsilon=required(config, "layer_norm_eps", files["config.json"]),
        trained_head=trained,
        files={name: described(file) for name, file in files.items()},
    )


def tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer, without the padding and cutting that some folders ask for."""
    result = Tokenizer.from_file(str(folder / "tokenizer.json"))
    result.no_padding()
    result.no_truncation()
    return result


def layer_norm(bert: Bert, name: str, x: np.ndarray) -> np.ndarray:
    """LayerNorm over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + bert.epsilon)
    return centred / scale * bert.weights[f"{name}.weight"] + bert.weights[f"{name}.bias"]


def linear(bert: Bert, name: str, x: np.ndarray) -> np.ndarray:
    """x times the transposed matrix, plus bias."""
    return x @ bert.weights[f"{name}.weight"].T + bert.weights[f"{name}.bias"]


def attention(bert: Bert, layer: str, x: np.ndarray) -> np.ndarray:
    """Self-attention of all heads over [tokens, width], without the output projection."""
    def split(name: str) -> np.ndarray:
        projected = linear(bert, f"{layer}.attention.self.{name}", x)
        return projected.reshape(len(x), bert.heads, -1).transpose(1, 0, 2)

    query, key, value = split("query"), split("key"), split("value")
    scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = scores / scores.sum(-1, keepdims=True) @ value
    return mixed.transpose(1, 0, 2).reshape(len(x), -1)


def logits(bert: Bert, ids: list[int]) -> np.ndarray:
    """One logit a label, [6], for one message's token ids."""
    w = bert.weights
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = layer_norm(bert, "embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
    for index in range(bert.layers):
        layer = f"encoder.layer.{index}"
        mixed = linear(bert, f"{layer}.attention.output.dense", attention(bert, layer, x))
        x = layer_norm(bert, f"{layer}.attention.output.LayerNorm", x + mixed)
        inner = linear(bert, f"{layer}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + _erf(inner / math.sqrt(2)).astype(np.float32))
        x = layer_norm(bert, f"{layer}.output.LayerNorm", x + linear(bert, f"{layer}.output.dense", inner))
    return linear(bert, "classifier", x.mean(0))

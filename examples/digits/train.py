"""Train the example's network on scikit-learn's digits and write what Thresher reads: model.onnx, samples.npz, calibration.npz.

    pip install 'thresher[train]'
    python train.py [FOLDER]

Takes about a minute on two cores. Every seed is fixed: the same versions on the same processor give the same bytes.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import network
import numpy as np
import optax
from sklearn.datasets import load_digits

TRAINING = 1000  # images
CALIBRATION = 128  # images, used without their labels; the rest is for evaluation
BATCH = 50
EPOCHS = 50
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.02
SMOOTHING = 0.05  # of the labels

Parameters = dict[str, jax.Array]
Statistics = dict[str, jax.Array]


def split() -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Training images and labels, calibration images, evaluation images and labels; images are (n, 1, 8, 8) in 0 to 1."""
    digits = load_digits()
    order = np.random.RandomState(0).permutation(len(digits.target))
    images = (digits.images[order] / 16).astype(np.float32)[:, None]
    labels = digits.target[order].astype(np.int64)
    end = TRAINING + CALIBRATION
    return (images[:TRAINING], labels[:TRAINING]), images[TRAINING:end], (images[end:], labels[end:])


def convolve(x: jax.Array, weight: jax.Array, conv: network.Conv) -> jax.Array:
    """Convolution of x (n, h, w, in) as sums of shifted products, which is quick on a CPU for small and depthwise kernels."""
    pad, height, width = conv.kernel // 2, x.shape[1], x.shape[2]
    padded = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    places = [(row, column) for row in range(conv.kernel) for column in range(conv.kernel)]
    shifted = [padded[:, r : r + height : conv.stride, c : c + width : conv.stride] for r, c in places]
    kernel = weight.reshape(conv.outputs, -1, len(places))  # (out, in / groups, places)
    if conv.groups > 1:
        return sum(part * kernel[:, 0, place] for place, part in enumerate(shifted))
    return jnp.concatenate(shifted, -1) @ kernel.transpose(2, 1, 0).reshape(-1, conv.outputs)


def forward(parameters: Parameters, images: jax.Array) -> tuple[jax.Array, Statistics]:
    """Logits (n, 10) of images (n, 1, 8, 8), and the mean and variance that each batch normalisation used: those of the batch."""
    x = images.transpose(0, 2, 3, 1)
    statistics: Statistics = {}
    for block in network.NETWORK:
        entry = x
        for conv in block.convs:
            x = convolve(x, parameters[f"{conv.name}.weight"], conv)
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            statistics |= {f"{conv.name}.bn.running_mean": mean, f"{conv.name}.bn.running_var": variance}
            scale = parameters[f"{conv.name}.bn.weight"] / jnp.sqrt(variance + network.EPSILON)
            x = (x - mean) * scale + parameters[f"{conv.name}.bn.bias"]
            x = {"Relu": jax.nn.relu, "Relu6": jax.nn.relu6, "": lambda x: x}[conv.activation](x)
        x = x + entry if block.skip else x
        x = jax.nn.relu(x) if block.activation else x
    return x.mean((1, 2)) @ parameters["classifier.weight"].T + parameters["classifier.bias"], statistics


def loss(parameters: Parameters, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross entropy with smoothed labels."""
    target = optax.smooth_labels(jax.nn.one_hot(labels, network.CLASSES), SMOOTHING)
    return optax.softmax_cross_entropy(forward(parameters, images)[0], target).mean()


def shift(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by -1, 0 or 1 pixels both ways; half of the images stay as they are."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    offsets = np.where(random.random((len(images), 1)) < 0.5, 1, random.integers(0, 3, (len(images), 2)))
    height, width = images.shape[2:]
    return np.stack([image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, offsets, strict=True)])


def train(images: np.ndarray, labels: np.ndarray, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters and batch-norm statistics, by name, after AdamW with a cosine schedule."""
    steps = EPOCHS * (len(images) // BATCH)
    rate = optax.cosine_onecycle_schedule(steps, LEARNING_RATE, pct_start=0.2)
    optimizer = optax.adamw(rate, weight_decay=WEIGHT_DECAY, mask=lambda tree: {name: array.ndim > 1 for name, array in tree.items()})
    parameters = {name: jnp.asarray(array) for name, array in network.initial_parameters(seed).items()}
    state = optimizer.init(parameters)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(parameters: Parameters, state: optax.OptState, x: jax.Array, y: jax.Array) -> tuple[Parameters, optax.OptState, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(parameters, x, y)
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    random = np.random.default_rng(seed)
    for epoch in range(EPOCHS):
        losses = []
        for chosen in random.permutation(len(images)).reshape(-1, BATCH):
            parameters, state, value = step(parameters, state, shift(images[chosen], random), labels[chosen])
            losses.append(value)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:3}: loss {float(np.mean(losses)):.4f}", flush=True)
    statistics = jax.jit(forward)(parameters, images)[1]  # over all training images at once: no running average to wait for
    return {name: np.asarray(array) for name, array in {**parameters, **statistics}.items()}


def main() -> None:
    """Train, and write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent, help="where to write (default: here)")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    (images, labels), calibration, (test_images, test_labels) = split()
    model = network.build(train(images, labels))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    np.savez_compressed(folder / "calibration.npz", image=calibration)
    np.savez_compressed(folder / "samples.npz", image=test_images, labels=test_labels)
    print(f"wrote model.onnx, samples.npz ({len(test_images)} images) and calibration.npz ({len(calibration)}) to {folder}")


if __name__ == "__main__":
    main()

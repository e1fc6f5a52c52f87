"""Makes the files beside this by Keras itself, with what their models give: ``pip install keras torch``, then run it.

Recorded with Keras 3.15.1 on torch 2; the arrays of ``outputs.npz`` are z (2, dim) and images by the model's name.
"""

import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers as L

HERE = Path(__file__).resolve().parent


def models() -> dict[str, Any]:
    z = L.Input((1, 1, 16))
    x = L.LeakyReLU(negative_slope=0.1)(L.BatchNormalization(epsilon=1e-5)(L.Conv2DTranspose(8, 2)(z)))
    x = L.Conv2DTranspose(5, 1, strides=2, padding="same")(L.UpSampling2D((2, 3), interpolation="bilinear")(x))
    x = L.Softmax()(L.Conv2DTranspose(6, 2, strides=3, padding="valid")(L.Dense(9)(x)))
    inner = keras.Sequential([L.Input((10,)), L.Dense(36), L.Reshape((3, 3, 4)), L.Conv2DTranspose(4, 4, 2, "same")])
    y = L.Input((10,))
    return {
        "functional.h5": keras.Model(z, x),
        "nested.keras": keras.Model(y, L.Conv2D(1, 3, padding="same", activation="tanh")(inner(y))),
        "signal.weights.h5": keras.Sequential([
            L.Input((9,)), L.Dense(48), L.Reshape((8, 6)), L.UpSampling1D(3),
            L.Conv1D(8, 5, padding="same", dilation_rate=2, activation="relu"), L.BatchNormalization(),
            L.Conv1DTranspose(4, 6, strides=2, padding="same"), L.ZeroPadding1D(2), L.Conv1D(2, 3, activation="tanh"),
        ]),
        "sequential.keras": keras.Sequential([
            L.Input((12,)), L.Dense(72, use_bias=False), L.BatchNormalization(), L.LeakyReLU(), L.Reshape((3, 3, 8)),
            L.Conv2DTranspose(8, 5, strides=1, padding="same", use_bias=False), L.BatchNormalization(scale=False),
            L.ReLU(), L.Dropout(0.3), L.UpSampling2D(), L.Conv2D(6, 3, padding="same", activation="relu"),
            L.Conv2DTranspose(5, 3, strides=2, padding="same", activation="leaky_relu"),
            L.Conv2D(5, 4, padding="same"), L.Activation("swish"),
            L.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh"),
        ]),
        "flattened.h5": keras.Sequential([
            L.Input((7,)), L.Dense(30, activation="elu"), L.Reshape((3, 5, -1)),
            L.Conv2DTranspose(4, (3, 5), strides=(2, 3), padding="valid"), L.ZeroPadding2D(((1, 2), (0, 1))),
            L.Conv2D(4, 3, strides=2, padding="same"), L.Cropping2D(((0, 1), (1, 0))), L.Flatten(), L.Dense(16),
            L.BatchNormalization(), L.ELU(), L.Dense(70, activation="sigmoid"), L.Reshape((10, 7)),
        ]),
    }  # fmt: skip


def record() -> None:
    random, outputs = np.random.default_rng(0), {}
    for file, model in models().items():
        for weight in model.weights:
            values = random.uniform(0.5, 2, weight.shape) if "variance" in weight.path else None
            values = 0.3 * random.normal(size=weight.shape) + ("gamma" in weight.path) if values is None else values
            weight.assign(values)
        z = random.normal(size=(2, *model.input_shape[1:])).astype("float32")
        outputs[f"{file} z"] = z.reshape(2, -1)
        outputs[f"{file} images"] = keras.ops.convert_to_numpy(model(z, training=False))
        if ".weights" in file:
            model.save_weights(HERE / file)
            (HERE / file).with_suffix(".json").write_text(model.to_json() + "\n")
        else:
            model.save(HERE / file)
    np.savez_compressed(HERE / "outputs.npz", **outputs)


if __name__ == "__main__":
    record()

"""Keras, stopped by joulewise. Needs keras with any backend (KERAS_BACKEND=torch) and scikit-learn."""

import keras
from sklearn.datasets import load_digits

import joulewise
from joulewise.training.keras import keras_callback

keras.utils.set_random_seed(0)
images, labels = load_digits(return_X_y=True)
model = keras.Sequential(
    [
        keras.layers.Input((64,)),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
stopping = joulewise.stopping("val_accuracy", horizon=60, samples=len(images) - 1400, least_gain=0.005)
model.fit(
    images[:1400] / 16,
    labels[:1400],
    validation_data=(images[1400:] / 16, labels[1400:]),
    epochs=60,
    batch_size=64,
    verbose=0,
    callbacks=[keras_callback(stopping)],
)
print(stopping.decision)

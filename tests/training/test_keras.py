"""Stopping as a callback of Keras."""

import os

import pytest

import joulewise
from joulewise.training.keras import keras_callback
from joulewise.vocabulary.errors import UnknownName

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def fitted(keras, stopping, epochs=60):
    import numpy as np

    keras.utils.set_random_seed(0)
    x = np.linspace(-1, 1, 64, dtype="float32").reshape(-1, 1)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.3), "mse")
    history = model.fit(
        x,
        3 * x + 1,
        epochs=epochs,
        validation_data=(x, 3 * x + 1),
        verbose=0,
        callbacks=[keras_callback(stopping)],
    )
    return model, history, model.evaluate(x, 3 * x + 1, verbose=0)


class TestKerasCallback:
    def test_stops_and_restores(self, keras):
        """A fit that has come to rest ends before its last epoch, with the weights of its best."""
        stopping = joulewise.stopping("val_loss", horizon=60)
        _, history, loss = fitted(keras, stopping)

        assert len(history.epoch) < 60
        assert loss == pytest.approx(stopping.decision.best_value, rel=1e-3, abs=1e-9)

    def test_a_metric_that_is_not_logged(self, keras):
        """The nearest name is suggested."""
        with pytest.raises(UnknownName, match="did you mean val_loss"):
            fitted(keras, joulewise.stopping("valid_loss", horizon=10), 2)

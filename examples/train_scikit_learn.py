"""scikit-learn, stopped by joulewise. Needs scikit-learn."""

from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

import joulewise
from joulewise.training.scikit_learn import fit_partial

images, labels = load_digits(return_X_y=True)
images = images / 16
held = len(images) - 1400
stopping = joulewise.stopping("accuracy", horizon=60, samples=held, least_gain=0.005)
fitted = fit_partial(
    MLPClassifier((128,), random_state=0),
    images[:1400],
    labels[:1400],
    (images[1400:], labels[1400:]),
    stopping,
    epochs=60,
    batch_size=64,
    classes=range(10),
)
print(fitted.decision)

"""A program that does one thing forty times, as scripts do that grew: joulewise run -- python examples/repeats.py"""

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier

images, labels = load_digits(return_X_y=True)
for seed in range(40):
    model = SGDClassifier(random_state=0, max_iter=300, tol=None)  # the seed was forgotten
    model.fit(images, labels)
    print(seed, model.score(images, labels))

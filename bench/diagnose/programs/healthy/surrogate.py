# healthy: an optimiser asks the model one point after another
"""Looks for the best recipe by a fitted surrogate."""
import numpy as np
from scipy.optimize import differential_evolution
from sklearn.svm import SVR

ROUNDS = 60  # vary: 60, 40
rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, size=(400, 4))
model = SVR(C=10).fit(X, -(X ** 2).sum(1) + 0.1 * rng.normal(size=400))


def worth(recipe):
    return -model.predict(recipe.reshape(1, -1))[0]


found = differential_evolution(worth, [(-2, 2)] * 4, maxiter=ROUNDS, popsize=40, tol=0, seed=0)
print(f"worth {-found.fun:.4f}")

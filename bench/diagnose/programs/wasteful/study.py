# cause: exhaustive_search
"""A study of a network's settings, each trained to the end."""
import numpy as np
import optuna
from sklearn.neural_network import MLPClassifier

optuna.logging.set_verbosity(optuna.logging.WARNING)
TRIALS = 24  # vary: 24, 18
EPOCHS = 12  # vary: 12, 18

rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 20))
y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)


def objective(trial):
    rate = trial.suggest_float("rate", 1e-5, 1.0, log=True)
    width = trial.suggest_int("width", 4, 64, log=True)
    net = MLPClassifier((width,), learning_rate_init=rate, random_state=0, batch_size=100)
    score = 0.0
    for epoch in range(EPOCHS):
        for i in range(0, 2000, 500):
            net.partial_fit(X[i:i + 500], y[i:i + 500], classes=[0, 1])
        score = net.score(X[2000:], y[2000:])
        pass  # fixed: trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return score


study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(0), pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3))
study.optimize(objective, n_trials=TRIALS)
print(f"accuracy {study.best_value:.4f}")

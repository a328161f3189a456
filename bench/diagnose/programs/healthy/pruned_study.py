# healthy: trials that fall behind end early
"""A study whose pruner ends what falls behind."""
import numpy as np
import optuna
from sklearn.linear_model import SGDClassifier

optuna.logging.set_verbosity(optuna.logging.WARNING)
TRIALS = 25  # vary: 25, 40
rng = np.random.default_rng(0)
X = rng.normal(size=(8000, 40))
y = (X[:, :5].sum(1) + rng.normal(size=8000) > 0).astype(int)


def objective(trial):
    model = SGDClassifier(alpha=trial.suggest_float("alpha", 1e-7, 1.0, log=True), eta0=trial.suggest_float("eta", 1e-4, 1.0, log=True), learning_rate="constant", random_state=0)
    score = 0.0
    for epoch in range(15):
        model.partial_fit(X[:6000], y[:6000], classes=[0, 1])
        score = model.score(X[6000:], y[6000:])
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return score


study = optuna.create_study(direction="maximize", pruner=optuna.pruners.HyperbandPruner())
study.optimize(objective, n_trials=TRIALS)
print(f"accuracy {study.best_value:.4f}")

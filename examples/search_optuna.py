"""Joules of each trial of an Optuna study: python examples/search_optuna.py (needs optuna and scikit-learn)."""

import optuna
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_score

import joulewise

x, y = load_digits(return_X_y=True)


def objective(trial):
    forest = RandomForestClassifier(
        n_estimators=trial.suggest_int("trees", 5, 80),
        max_depth=trial.suggest_int("depth", 2, 12),
        random_state=0,
    )
    return cross_val_score(forest, x, y, cv=3).mean()


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
with joulewise.trial_joules("forest") as joules:
    study.optimize(joules(objective), n_trials=8, callbacks=[joules.callback])
for trial in sorted(study.trials, key=lambda t: -t.value)[:3]:
    told = trial.user_attrs
    print(
        f"trial {trial.number}: {trial.value:.3f} for {told['joulewise:energy_j']:.1f} J "
        f"({told['joulewise:energy_low_j']:.1f}-{told['joulewise:energy_high_j']:.1f}, {told['joulewise:basis']})"
    )
print(f"all: {study.user_attrs['joulewise:energy_j']:.1f} J")

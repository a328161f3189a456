"""Joules of each trial of Ray Tune: python examples/search_ray_tune.py (needs "ray[tune]" and scikit-learn)."""

import ray
from ray import tune
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import joulewise


def train(config):
    x, y = load_digits(return_X_y=True)
    x, test_x, y, test_y = train_test_split(x / 16, y, random_state=0)
    model = SGDClassifier(alpha=config["alpha"], random_state=0)
    for _ in range(20):
        model.partial_fit(x, y, classes=range(10))
        tune.report({"accuracy": model.score(test_x, test_y)})


ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
tuner = tune.Tuner(
    joulewise.tuned(train),
    param_space={"alpha": tune.grid_search([1e-5, 1e-3, 1e-1])},
    run_config=tune.RunConfig(verbose=0),
)
for result in tuner.fit():
    told = result.metrics
    print(
        f"alpha {result.config['alpha']:g}: accuracy {told['accuracy']:.3f} for {told['joulewise_energy_j']:.1f} J "
        f"({told['joulewise_energy_low_j']:.1f}-{told['joulewise_energy_high_j']:.1f}, {told['joulewise_basis']})"
    )
ray.shutdown()

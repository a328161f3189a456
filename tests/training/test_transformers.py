"""Stopping as a callback of Hugging Face's Trainer."""

import pytest

import joulewise
from joulewise.training.transformers import transformers_callback
from joulewise.vocabulary.errors import UnknownName

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("accelerate")
    return pytest.importorskip("transformers")


@pytest.fixture
def train(transformers, tmp_path):
    class Line(torch.nn.Module):  # type: ignore[name-defined, misc] # torch comes by importorskip
        def __init__(self) -> None:
            super().__init__()
            self.line = torch.nn.Linear(1, 1)

        def forward(self, x, labels):
            out = self.line(x)
            return {"loss": ((out - labels) ** 2).mean(), "logits": out}

    def run(stopping):
        torch.manual_seed(0)
        xs = torch.linspace(-1, 1, 64).view(-1, 1)
        data = [{"x": x, "labels": 3 * x + 1} for x in xs]
        trainer = transformers.Trainer(
            Line(),
            transformers.TrainingArguments(
                str(tmp_path),
                num_train_epochs=60,
                per_device_train_batch_size=32,
                learning_rate=0.2,
                lr_scheduler_type="constant",
                eval_strategy="epoch",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
            ),
            train_dataset=data,
            eval_dataset=data,
            callbacks=[transformers_callback(stopping)],
        )
        trainer.train()
        return trainer

    return run


class TestTransformersCallback:
    @pytest.mark.parametrize("metric", ["eval_loss", "loss"])
    def test_stops(self, train, metric):
        """A training that has come to rest ends before its last step, in the Trainer's own steps."""
        stopping = joulewise.stopping(metric, horizon=120)
        trainer = train(stopping)

        assert trainer.state.global_step < 120
        assert stopping.curve.steps[-1] == trainer.state.global_step
        assert stopping.decision.stops

    def test_a_metric_that_is_not_logged(self, train):
        """The nearest name is suggested."""
        with pytest.raises(UnknownName, match="did you mean eval_loss"):
            train(joulewise.stopping("evaluation_loss", horizon=120))

"""Stopping as a callback of Lightning."""

import pytest

import joulewise
from joulewise.training.lightning import lightning_callback
from joulewise.vocabulary.errors import UnknownName

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def lightning():
    return pytest.importorskip("lightning.pytorch")


@pytest.fixture
def fit(lightning, tmp_path):
    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc] # it comes by importorskip
        """Its validation loss is scripted, and its one weight counts the epochs."""

        def __init__(self, losses) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.losses = losses

        def training_step(self, batch, _):
            return (self.weight * 0).sum() + batch[0].sum() * 0

        def validation_step(self, batch, _):
            if not self.trainer.sanity_checking:
                with torch.no_grad():
                    self.weight.fill_(self.current_epoch + 1)
            self.log("val_loss", self.losses[min(self.current_epoch, len(self.losses) - 1)])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    def run(losses, stopping):
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(2, 1)))
        trainer = lightning.Trainer(
            max_epochs=len(losses),
            callbacks=[lightning_callback(stopping)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            accelerator="cpu",
            default_root_dir=tmp_path,
        )
        module = Module(losses)
        trainer.fit(module, loader, loader)
        return module

    return run


class TestLightningCallback:
    def test_stops_and_restores(self, fit):
        """A curve that has come to rest ends the fit, with the weights of the best epoch."""
        losses = [2 * 0.5**i + 0.1 + (0.001 if i > 12 else 0) for i in range(40)]
        stopping = joulewise.stopping("val_loss", horizon=40)
        module = fit(losses, stopping)

        assert len(stopping.curve) < 40
        assert stopping.decision.stops
        assert float(module.weight) == stopping.decision.best_step

    def test_nan(self, fit):
        """A loss that is no number ends it at once."""
        stopping = joulewise.stopping("val_loss", horizon=10)
        fit([1.0, 0.9, float("nan"), 0.5, 0.4, 0.3], stopping)

        assert len(stopping.curve) == 3

    def test_a_metric_that_is_not_logged(self, fit):
        """The nearest name is suggested."""
        with pytest.raises(UnknownName, match="did you mean val_loss"):
            fit([1.0, 0.9], joulewise.stopping("valid_loss", horizon=10))

"""Adapters beside full fine-tuning: a small transformer that knows five digits learns the other five.

Needs torch, transformers, peft, schedulefree and scikit-learn; downloads nothing.
"""

import copy

import torch
from sklearn.datasets import load_digits
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

import joulewise
from joulewise.training.adapters import compare, lora


class Scores(nn.Module):
    """A classifier of Hugging Face's that returns its scores alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, words):
        return self.inner(words).logits


torch.manual_seed(0)
images, labels = load_digits(return_X_y=True)
x, y = torch.tensor(images, dtype=torch.long), torch.tensor(labels)  # a digit as a text of 64 words
loss = nn.functional.cross_entropy
config = BertConfig(
    vocab_size=17,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    max_position_embeddings=64,
    num_labels=5,
)
model = Scores(BertForSequenceClassification(config))
old, new = y < 5, y >= 5
keep = {"threads": 1, "batch_size": 32, "precision": "fp32", "optimiser": "wsd"}
recipe = joulewise.training.recipe(model, (x[old], y[old]), loss=loss, epochs=8, keep=keep)
trainer = joulewise.training.Trainer(model, recipe, loss)
batches = trainer.batches((x[old], y[old]))
while not trainer.over:
    for inputs, targets in batches:
        trainer.step(inputs, targets)


def pretrained():
    return copy.deepcopy(model)


names = ("inner.classifier",)
ways = {
    "full": pretrained,
    "lora 8": lambda: lora(pretrained(), rank=8, targets=("query", "value"), whole=names),
}
x, y = x[new], y[new] - 5
found = compare(ways, (x[:650], y[:650]), (x[650:], y[650:]), loss=loss, epochs=72, tolerance=0.02, keep=keep)
print(found)

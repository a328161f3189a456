"""Hugging Face's Trainer, stopped by joulewise. Needs transformers, accelerate and scikit-learn; downloads nothing."""

import tempfile

import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

import joulewise
from joulewise.training.transformers import transformers_callback

set_seed(0)
images, labels = load_digits(return_X_y=True)
# the sixteen grey levels of a digit's pixels as a text of 64 words
data = [
    {"input_ids": torch.tensor(image, dtype=torch.long), "labels": int(label)}
    for image, label in zip(images, labels, strict=True)
]
model = BertForSequenceClassification(
    BertConfig(
        vocab_size=17,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        num_labels=10,
        hidden_dropout_prob=0.0,
    )
)
stopping = joulewise.stopping("eval_loss", horizon=1100)
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        max_steps=1100,
        per_device_train_batch_size=64,
        learning_rate=3e-3,
        eval_strategy="steps",
        eval_steps=22,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=data[:1400],
        eval_dataset=data[1400:],
        callbacks=[transformers_callback(stopping)],
    )
    trainer.train()
print(stopping.decision)

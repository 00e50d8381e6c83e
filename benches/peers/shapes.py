"""The shapes of the standard workloads, and networks and prompts of each."""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig

PAD, BOS, EOS = 0, 1, 2
FIRST_ORDINARY_ID = 3


@dataclass(frozen=True)
class Shape:
    """A model's shape and the batches that go with it."""

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    # Rows and tokens of a row in a step of fine-tuning.
    sft: tuple[int, int]
    # Prompts, tokens of a prompt and new tokens of a rollout.
    rollout: tuple[int, int, int]
    micro_batch_rows: int

    def config(self, **more):
        return LlamaConfig(
            vocab_size=self.vocab,
            hidden_size=self.hidden,
            intermediate_size=self.mlp,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
            **more,
        )

    def causal_lm(self, settings):
        """A language model with random weights."""
        model = AutoModelForCausalLM.from_config(self.config(), dtype=settings.dtype)
        return model.to(settings.device)

    def scalar_model(self, settings):
        """A network with one number for each token, with random weights."""
        config = self.config(num_labels=1)
        model = AutoModelForSequenceClassification.from_config(config, dtype=settings.dtype)
        return model.to(settings.device)

    def random_rows(self, n_rows, n_tokens):
        """Rows of random ids, none of them special."""
        return torch.randint(FIRST_ORDINARY_ID, self.vocab, (n_rows, n_tokens))


SHAPES = {
    "S": Shape(64, 172, 5, 8, 4, 512, (32, 128), (64, 16, 64), 16),
    "M": Shape(256, 688, 6, 8, 8, 4096, (8, 128), (64, 32, 64), 16),
    "L": Shape(768, 2048, 12, 12, 12, 32000, (2, 256), (8, 32, 32), 4),
    "XL": Shape(896, 4864, 24, 14, 2, 151936, (2, 256), (8, 32, 32), 4),
}


def n_params(model):
    """Weights of a network; those of a tied head count once."""
    return sum(parameter.numel() for parameter in model.parameters())

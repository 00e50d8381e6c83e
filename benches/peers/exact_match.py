"""Problems with one right answer each: a completion is worth 1 if it is that and ends, and else 0."""

import json
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast


class Task:
    """What an exported folder holds, in tokens, and a value model to begin with."""

    def __init__(self, folder, value=None):
        self.folder = Path(folder)
        self.model = self.folder / "model"
        self.value = value
        self.tokenizer = tokenizer(self.model)
        self.train = rows(self.folder / "prompts.jsonl")
        self.heldout = rows(self.folder / "heldout.jsonl")
        self.pairs = rows(self.folder / "pairs.jsonl")

    def prompt(self, text):
        """The tokens that begin a row, the mark of its beginning included where the tokenizer has one."""
        return self.tokenizer(text)["input_ids"]

    def answer(self, text):
        """The tokens of a right completion."""
        tokens = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*tokens, self.tokenizer.eos_token_id]

    def reward(self, completion_ids, answer, **_):
        """The reward as TRL's trainers for groups ask for it."""
        return [float(ids == self.answer(text)) for ids, text in zip(completion_ids, answer)]


class Verifier(torch.nn.Module):
    """The same reward as a reward model, since PPOTrainer takes nothing else."""

    base_model_prefix = "reader"

    def __init__(self, task):
        super().__init__()
        self.score = torch.nn.Identity()
        self.right = {
            (*task.prompt(row["prompt"]), *task.answer(row["answer"])) for row in task.train
        }

    def reader(self, input_ids, attention_mask, **_):
        """A row's reward at each of its tokens."""
        rewards = [
            float(tuple(ids[is_token].tolist()) in self.right)
            for ids, is_token in zip(input_ids, attention_mask)
        ]
        hidden = torch.tensor(rewards, device=input_ids.device)[:, None, None]
        return Hidden(hidden.expand(*input_ids.shape, 1))


class Hidden:
    """What a decoder returns, as far as TRL looks at it."""

    def __init__(self, hidden):
        self.hidden_states = [hidden]


def tokenizer(model):
    """The tokenizer beside a model; which tokens are special stands in the model's config."""
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(model / "tokenizer.json"), padding_side="left"
    )
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    for name in ("pad", "bos", "eos"):
        token = config.get(f"{name}_token_id")
        if token is not None:
            setattr(fast, f"{name}_token", fast.convert_ids_to_tokens(token))
    return fast


def rows(file):
    with open(file, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]

"""What a saved policy is worth and how far it has gone, by one judge for both sides."""

from dataclasses import asdict, dataclass

import torch
from transformers import AutoModelForCausalLM, GenerationConfig


@dataclass(frozen=True)
class Verdict:
    """Of a policy, at temperature 1, as means over the held-out problems."""

    # Nats a completion from the initial policy, on the policy's own samples.
    kl: float
    # The probability of a right completion.
    reward: float
    # The share of right completions among samples.
    sampled: float
    # The standard error of that.
    sampled_error: float


class Judge:
    """Asks a policy all held-out problems."""

    def __init__(self, task, n_samples, max_new_tokens):
        self.task, self.n_samples, self.max_new_tokens = task, n_samples, max_new_tokens
        self.initial = load(task.model)
        self.prompts = [task.prompt(row["prompt"]) for row in task.heldout]
        self.answers = [task.answer(row["answer"]) for row in task.heldout]

    @torch.no_grad()
    def verdict(self, folder):
        policy = load(folder)
        # A reward is that of one completion, so its mean is that completion's probability.
        reward = self.answer_logprobs(policy).exp().mean().item()
        completions = self.sample(policy)
        right = [
            completion == answer
            for completion, answer in zip(completions, self.repeated(self.answers))
        ]
        share = sum(right) / len(right)
        by_problem = torch.tensor(right).float().view(len(self.prompts), self.n_samples)
        error = (by_problem.var(dim=1).mean() / by_problem.numel()).sqrt().item()
        if abs(share - reward) > 5 * error + 1e-3:
            raise ValueError(f"{folder}: {share} of samples are right, but {reward} should be")
        kl = self.divergences(policy, completions).mean().item()
        return asdict(Verdict(kl, reward, share, error))

    def answer_logprobs(self, policy):
        """Of each problem's answer, in nats."""
        logprobs, ids, learned = self.logprobs(policy, self.prompts, self.answers)
        return (logprobs.gather(2, ids[..., None]).squeeze(2) * learned).sum(1)

    def sample(self, policy):
        """Completions of each problem, cut behind their end."""
        torch.manual_seed(0)
        tokenizer, prompts = self.task.tokenizer, self.repeated(self.prompts)
        batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        settings = GenerationConfig(
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        policy.generation_config = settings
        rows = policy.generate(**batch)[:, batch["input_ids"].shape[1] :]
        return [ended(row, tokenizer.eos_token_id) for row in rows.tolist()]

    def divergences(self, policy, completions):
        """Of each completion: the divergences of the next token's probabilities, summed over its tokens.

        That has the mean of the differences in the completion's log-probabilities, and varies less.
        """
        prompts = self.repeated(self.prompts)
        ours, _, learned = self.logprobs(policy, prompts, completions)
        initial, _, _ = self.logprobs(self.initial, prompts, completions)
        return (((ours.exp() * (ours - initial)).sum(2)) * learned).sum(1)

    def logprobs(self, model, prompts, completions):
        """Of every token of the vocabulary at each place but the first; the ids there; 1 where they complete."""
        rows = [prompt + completion for prompt, completion in zip(prompts, completions)]
        # On the right, so that positions count from a row's beginning. What comes later isn't seen.
        width = max(map(len, rows))
        pad = self.task.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        place = torch.arange(width)[None]
        start = torch.tensor([len(prompt) for prompt in prompts])[:, None]
        end = torch.tensor([len(row) for row in rows])[:, None]
        learned = ((place >= start) & (place < end)).float()
        logits = model(input_ids=ids, attention_mask=(place < end).long()).logits.double()
        return logits[:, :-1].log_softmax(2), ids[:, 1:], learned[:, 1:]

    def repeated(self, items):
        return [item for item in items for _ in range(self.n_samples)]


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def ended(row, eos):
    return row[: row.index(eos) + 1] if eos in row else row

"""What a saved policy is worth and how far it has gone, by one judge for both sides."""

from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM


@dataclass(frozen=True)
class Verdict:
    """Of a policy, at temperature 1, as means over the held-out problems."""

    # Nats a completion from the initial policy, on the policy's own samples.
    kl: float
    # The probability of a right completion.
    reward: float
    # The share of right completions among samples.
    sampled: float


class Judge:
    """Asks policies all held-out problems. Rows are padded on the right, where nothing is seen of it."""

    def __init__(self, task, n_samples, max_new_tokens):
        self.task, self.n_samples, self.max_new_tokens = task, n_samples, max_new_tokens
        self.initial = load(task.model)
        self.prompts = [task.prompt(row["prompt"]) for row in task.heldout]
        self.answers = [task.answer(row["answer"]) for row in task.heldout]

    @torch.no_grad()
    def verdict(self, folder, share=1.0):
        """Of a policy, or of what lies between it and the initial one."""
        policy = Between(self.initial, load(folder), share)
        # What is right is one completion, so the mean reward is that one's probability.
        rewards = self.answer_logprobs(policy).exp()
        completions = self.sample(policy)
        right = [ours == answer for ours, answer in zip(completions, self.repeated(self.answers))]
        verdict = Verdict(
            kl=self.divergences(policy, completions).mean().item(),
            reward=rewards.mean().item(),
            sampled=sum(right) / len(right),
        )
        error = ((rewards * (1 - rewards)).mean() / len(right)).sqrt().item()
        if abs(verdict.sampled - verdict.reward) > 5 * error + 1e-3:
            raise ValueError(f"{folder}: sampled rewards aren't what they should be: {verdict}")
        return verdict

    def verdict_at(self, kl, folder):
        """Of what lies so many nats from the initial policy on the way to another that isn't nearer.

        The distance grows about as the square of the share.
        """
        share, verdict = 1.0, self.verdict(folder)
        while abs(verdict.kl / kl - 1) > 0.01:
            share *= (kl / verdict.kl) ** 0.5
            verdict = self.verdict(folder, share)
        return verdict

    def answer_logprobs(self, policy):
        """Of each problem's answer, in nats."""
        logprobs, _, ids, learned = self.look(policy, self.prompts, self.answers)
        return (logprobs.gather(2, ids[..., None]).squeeze(2) * learned).sum(1)

    def sample(self, policy):
        """Completions of each problem, each with its end, unless it was cut off."""
        random = torch.Generator().manual_seed(0)
        eos = self.task.tokenizer.eos_token_id
        prompts = self.repeated(self.prompts)
        completions = [[] for _ in prompts]
        for _ in range(self.max_new_tokens):
            ids, lengths = self.padded([ours + more for ours, more in zip(prompts, completions)])
            logprobs, _ = policy(ids, lengths, lengths[:, None] - 1)
            drawn = logprobs[:, 0].exp().multinomial(1, generator=random).squeeze(1).tolist()
            for completion, token in zip(completions, drawn):
                if eos not in completion:
                    completion.append(token)
        return completions

    def divergences(self, policy, completions):
        """Of each completion: the divergences of the next token's probabilities, summed over its tokens.

        That has the mean of the differences in the completion's log-probabilities, and varies less.
        """
        ours, initial, _, learned = self.look(policy, self.repeated(self.prompts), completions)
        return ((ours.exp() * (ours - initial)).sum(2) * learned).sum(1)

    def look(self, policy, prompts, completions):
        """At each place of a completion: log-probabilities of all tokens by the policy and the initial
        one, the id that stands there, and 0 behind its end."""
        ids, lengths = self.padded([one + other for one, other in zip(prompts, completions)])
        starts = torch.tensor([len(prompt) for prompt in prompts])
        places = starts[:, None] + torch.arange(self.max_new_tokens)[None]
        learned = (places < lengths[:, None]).float()
        places = places.clamp(max=ids.shape[1] - 1)
        ours, initial = policy(ids, lengths, places - 1)
        return ours, initial, ids.gather(1, places), learned

    def padded(self, rows):
        """Ids of rows, and how many each has."""
        width, pad = max(map(len, rows)), self.task.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        return ids, torch.tensor([len(row) for row in rows])

    def repeated(self, items):
        return [item for item in items for _ in range(self.n_samples)]


class Between:
    """`π_initial^(1 − share) π^share`, normalised at each token (Liu et al., 2024)."""

    def __init__(self, initial, policy, share):
        self.initial, self.policy, self.share = initial, policy, share

    def __call__(self, ids, lengths, places):
        """Its log-probabilities of what follows each row's places, and the initial policy's."""
        is_token = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        initial, policy = (
            logprobs(model, ids, is_token, places) for model in (self.initial, self.policy)
        )
        return torch.lerp(initial, policy, self.share).log_softmax(2), initial


def logprobs(model, ids, is_token, places):
    hidden = model.base_model(input_ids=ids, attention_mask=is_token).last_hidden_state
    hidden = hidden[torch.arange(len(ids))[:, None], places]
    return model.get_output_embeddings()(hidden).log_softmax(2)


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

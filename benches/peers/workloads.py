"""Fine-tuning and sampling, with transformers."""

import time

import torch
from transformers import GenerationConfig

from shapes import PAD, n_params


def sft(shape, settings):
    """One step: forward, backward, clipping of the global norm, AdamW."""
    model = shape.causal_lm(settings).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    rows = shape.random_rows(*shape.sft).to(settings.device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        model(input_ids=rows, labels=rows, use_cache=False).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return n_params(model), timed(step, settings), rows.numel()


def rollout(shape, settings):
    """A batch of completions, all of full length."""
    n_prompts, n_prompt_tokens, n_new = shape.rollout
    model = shape.causal_lm(settings).eval()
    prompts = shape.random_rows(n_prompts, n_prompt_tokens).to(settings.device)
    # Without an end of sequence in the settings, no token ends a row, and none needs to be masked.
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=n_new, pad_token_id=PAD
    )

    def sample():
        rows = model.generate(prompts, attention_mask=torch.ones_like(prompts))
        assert rows.shape == (n_prompts, n_prompt_tokens + n_new), rows.shape

    return n_params(model), timed(sample, settings), n_prompts * n_new


def timed(run, settings):
    """Seconds of each run, after one that doesn't count."""
    seconds = []
    for _ in range(settings.iters + 1):
        start = now(settings)
        run()
        seconds.append(now(settings) - start)
    return seconds[1:]


def now(settings):
    """The time when all that was asked of the device is done."""
    if settings.device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()

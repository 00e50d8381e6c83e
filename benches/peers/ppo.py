"""Iterations of proximal policy optimisation with TRL's own PPOTrainer."""

import tempfile

from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, TrainerCallback
from trl import PPOConfig, PPOTrainer

from shapes import BOS, EOS, PAD, n_params
from workloads import now


def ppo(shape, settings):
    """Whole iterations: sampling, judging, and four epochs of updates over the batch."""
    n_prompts, n_prompt_tokens, n_new = shape.rollout
    rows = shape.random_rows(n_prompts, n_prompt_tokens).tolist()
    prompts = Dataset.from_dict({"input_ids": rows})
    policy, reference = shape.causal_lm(settings), shape.causal_lm(settings)
    value, reward = shape.scalar_model(settings), shape.scalar_model(settings)
    # Padding in a response would shorten it and take attention off its fast path.
    policy.generation_config.suppress_tokens = [PAD, EOS]
    clock = Clock(settings)
    with tempfile.TemporaryDirectory() as folder:
        trainer = PPOTrainer(
            args=config(shape, settings, folder),
            processing_class=tokenizer(shape.vocab),
            model=policy,
            ref_model=reference,
            reward_model=reward,
            value_model=value,
            train_dataset=prompts,
            eval_dataset=prompts,
            callbacks=[clock],
        )
        trainer.train()
    ends = clock.ends
    seconds = [end - start for start, end in zip(ends, ends[1:])]
    assert len(seconds) == settings.iters, seconds
    return n_params(policy), seconds, n_prompts * n_new


def config(shape, settings, folder):
    n_prompts, _, n_new = shape.rollout
    return PPOConfig(
        output_dir=folder,
        total_episodes=n_prompts * (settings.iters + 1),
        # One optimiser step for each epoch over the batch.
        num_ppo_epochs=4,
        num_mini_batches=1,
        per_device_train_batch_size=shape.micro_batch_rows,
        gradient_accumulation_steps=n_prompts // shape.micro_batch_rows,
        # Sampling and judging take the whole batch at once, which is fastest.
        local_rollout_forward_batch_size=n_prompts,
        response_length=n_new,
        temperature=1.0,
        kl_coef=0.05,
        learning_rate=1e-6,
        # No response ends early, and none is punished for it.
        stop_token=None,
        missing_eos_penalty=None,
        # Weights have the type that was asked for, and nothing is computed twice.
        bf16=False,
        gradient_checkpointing=False,
        # No other work between iterations.
        num_sample_generations=0,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        use_cpu=settings.device == "cpu",
    )


class Clock(TrainerCallback):
    """Notes when each iteration ends."""

    def __init__(self, settings):
        self.settings = settings
        self.ends = []

    def on_step_end(self, args, state, control, **_):
        self.ends.append(now(self.settings))


def tokenizer(vocab_size):
    """A vocabulary of as many words, so that nothing needs to be downloaded."""
    words = {PAD: "<pad>", BOS: "<s>", EOS: "</s>"}
    vocab = {words.get(number, f"w{number}"): number for number in range(vocab_size)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token=words[PAD])),
        pad_token=words[PAD],
        bos_token=words[BOS],
        eos_token=words[EOS],
        padding_side="left",
    )

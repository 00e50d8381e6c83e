"""The settings of each algorithm, said once for both sides."""

from dataclasses import dataclass, field

STEPS = 60
ROWS_PER_STEP = 64
PAIRS_PER_STEP = 32
MAX_NEW_TOKENS = 4


@dataclass
class Recipe:
    """An algorithm's settings by the names that TRL and Rein have for them."""

    trl: dict = field(default_factory=dict)
    rein: dict = field(default_factory=dict)

    def same(self, value, trl, rein):
        self.trl[trl] = value
        self.rein[rein] = value
        return self

    def each(self, trl, rein):
        self.trl |= trl
        self.rein |= rein
        return self

    def arguments(self):
        """Rein's settings on its command line."""
        return [part for key, value in self.rein.items() for part in ("--set", f"{key}={toml(value)}")]


def toml(value):
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case _:
            return str(value)


def optimizer(section, learning_rate, max_grad_norm):
    """AdamW, without decay, whose rate falls to zero in a line."""
    recipe = Recipe()
    recipe.same(learning_rate, "learning_rate", f"{section}.optimizer.learning_rate")
    recipe.same("linear", "lr_scheduler_type", f"{section}.optimizer.schedule")
    recipe.each({"warmup_steps": 0}, {f"{section}.optimizer.warmup_ratio": 0.0})
    recipe.each({"adam_beta1": 0.9, "adam_beta2": 0.999}, {f"{section}.optimizer.betas": [0.9, 0.999]})
    recipe.same(1e-8, "adam_epsilon", f"{section}.optimizer.epsilon")
    recipe.same(0.0, "weight_decay", f"{section}.optimizer.weight_decay")
    return recipe.same(max_grad_norm, "max_grad_norm", f"{section}.optimizer.max_grad_norm")


def rollout(recipe, samples_per_prompt, limit):
    """`limit` is TRL's name for the most new tokens."""
    recipe.same(1.0, "temperature", "rl.temperature")
    recipe.same(MAX_NEW_TOKENS, limit, "rl.max_new_tokens")
    recipe.each(
        {"per_device_train_batch_size": ROWS_PER_STEP, "gradient_accumulation_steps": 1},
        {
            "rl.prompts_per_step": ROWS_PER_STEP // samples_per_prompt,
            "rl.samples_per_prompt": samples_per_prompt,
            "rl.minibatches": 1,
            "rl.micro_batch_rows": ROWS_PER_STEP,
        },
    )
    # The reward itself asks for an end.
    return recipe.each({}, {"rl.steps": STEPS, "rl.missing_eos_penalty": 0.0})


def ppo(_):
    # PPOTrainer never clips gradients.
    recipe = rollout(optimizer("rl", 3e-4, 0.0), 1, "response_length")
    recipe.each(
        {"total_episodes": STEPS * ROWS_PER_STEP, "num_mini_batches": 1, "missing_eos_penalty": None},
        # TRL puts the score into the slot after the last token.
        {"rl.score_at": "post_eos", "rl.whiten_advantages": True},
    )
    recipe.same(4, "num_ppo_epochs", "rl.epochs")
    recipe.same(0.2, "cliprange", "rl.clip_range")
    recipe.same(0.2, "cliprange_value", "rl.clip_range_value")
    recipe.same(0.1, "vf_coef", "rl.value_coefficient")
    recipe.same(1.0, "gamma", "rl.gamma")
    recipe.same(0.95, "lam", "rl.lambda")
    recipe.same(False, "whiten_rewards", "rl.whiten_rewards")
    recipe.same("k1", "kl_estimator", "rl.kl_estimator")
    return recipe.each({"kl_coef": 0.05}, fixed_kl(0.05, "reward"))


def grpo(_):
    recipe = compared(8)
    recipe.each(
        {"loss_type": "grpo", "scale_rewards": "group", "importance_sampling_level": "token"},
        {"rl.loss_mean": "completions"},
    )
    # The gradient of the penalty through the ratio, which is 1, is TRL's own.
    recipe.each({"use_bias_correction_kl": False}, {"rl.kl_estimator": "k3"})
    return recipe.each({"beta": 0.04}, fixed_kl(0.04, "loss"))


def rloo(_):
    recipe = compared(4)
    recipe.each({"normalize_advantages": False}, {"rl.whiten_advantages": False})
    recipe.each({}, {"rl.kl_estimator": "k1"})
    return recipe.each({"beta": 0.05}, fixed_kl(0.05, "reward"))


def compared(samples_per_prompt):
    """What compares completions of a prompt, each used once."""
    recipe = rollout(optimizer("rl", 1e-3, 1.0), samples_per_prompt, "max_completion_length")
    recipe.each({"max_steps": STEPS, "num_generations": samples_per_prompt, "disable_dropout": True}, {})
    recipe.same(1, "num_iterations", "rl.epochs")
    return recipe.same(0.2, "epsilon", "rl.clip_range")


def fixed_kl(coefficient, placement):
    return {
        "rl.kl.kind": "fixed",
        "rl.kl.coefficient": coefficient,
        "rl.kl_placement": placement,
    }


def dpo(n_pairs):
    recipe = optimizer("dpo", 3e-4, 1.0)
    recipe.same(0.1, "beta", "dpo.beta")
    recipe.same(0.0, "label_smoothing", "dpo.label_smoothing")
    recipe.same("sigmoid", "loss_type", "dpo.loss_type")
    recipe.each(
        {"per_device_train_batch_size": PAIRS_PER_STEP, "gradient_accumulation_steps": 1},
        {"dpo.batch_rows": PAIRS_PER_STEP, "dpo.micro_batch_rows": PAIRS_PER_STEP},
    )
    # Rein counts epochs and rounds their steps up.
    epochs = (STEPS - 0.5) * PAIRS_PER_STEP / n_pairs
    # Without a small batch at the end of each epoch, which Rein hasn't.
    return recipe.each({"max_steps": STEPS, "dataloader_drop_last": True}, {"dpo.epochs": epochs})


RECIPES = {"ppo": ppo, "grpo": grpo, "rloo": rloo, "dpo": dpo}


def recipe(algorithm, task):
    """The settings of an algorithm for what lies in a folder."""
    with open(task / "pairs.jsonl", encoding="utf-8") as pairs:
        n_pairs = sum(1 for _ in pairs)
    return RECIPES[algorithm](n_pairs)

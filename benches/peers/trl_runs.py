"""One run of a TRL trainer from an exported folder, in a process of its own: python trl_runs.py --help."""

import argparse
import json
import os
from pathlib import Path


def main():
    settings = arguments()
    # The libraries read these when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    import torch

    from exact_match import Task
    from recipes import recipe

    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    settings.out.mkdir(parents=True, exist_ok=True)
    said = recipe(settings.algorithm, settings.task).trl | plainly(settings)
    task = Task(settings.task, settings.value)
    trainer = TRAINERS[settings.algorithm](task, said, watchers(settings))
    trainer.train()


def arguments():
    parser = argparse.ArgumentParser(description="Trains the policy of an exported folder with TRL.")
    parser.add_argument("algorithm", choices=TRAINERS)
    parser.add_argument("--task", type=Path, required=True, help="what `rein bench learn` exported")
    parser.add_argument("--value", type=Path, help="the value model that PPO begins with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="where the policy is saved")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def plainly(settings):
    """In f32 on the CPU, and nothing beside training."""
    return {
        "output_dir": str(settings.out / "trainer"),
        "seed": settings.seed,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
    }


def watchers(settings):
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):
        """Saves the policy in the end, and notes what the trainer tells."""

        def on_step_end(self, args, state, control, model=None, **_):
            if state.global_step == state.max_steps:
                policy = getattr(model, "policy", model)
                policy.save_pretrained(settings.out / f"step-{state.global_step:06}")

        def on_log(self, args, state, control, logs=None, **_):
            with open(settings.out / "metrics.jsonl", "a", encoding="utf-8") as metrics:
                print(json.dumps({"step": state.global_step, **logs}), file=metrics)

    return [Watcher()]


def ppo(task, settings, callbacks):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl import PPOConfig, PPOTrainer

    from exact_match import Verifier

    prompts = Dataset.from_dict({"input_ids": [task.prompt(row["prompt"]) for row in task.train]})
    policy, reference = (AutoModelForCausalLM.from_pretrained(task.model) for _ in range(2))
    value = AutoModelForSequenceClassification.from_pretrained(task.value, num_labels=1)
    settings |= {"stop_token": "eos", "num_sample_generations": 0}
    settings |= {"local_rollout_forward_batch_size": settings["per_device_train_batch_size"]}
    return PPOTrainer(
        args=PPOConfig(**settings),
        processing_class=task.tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=Verifier(task),
        value_model=value,
        train_dataset=prompts,
        eval_dataset=prompts,
        callbacks=callbacks,
    )


def grpo(task, settings, callbacks):
    from trl import GRPOConfig, GRPOTrainer

    return compared(GRPOTrainer, GRPOConfig, task, settings, callbacks)


def rloo(task, settings, callbacks):
    from trl import RLOOConfig, RLOOTrainer

    return compared(RLOOTrainer, RLOOConfig, task, settings, callbacks)


def compared(trainer, config, task, settings, callbacks):
    from datasets import Dataset

    return trainer(
        model=str(task.model),
        reward_funcs=task.reward,
        args=config(**settings, model_init_kwargs={"dtype": "float32"}),
        train_dataset=Dataset.from_list(task.train),
        processing_class=task.tokenizer,
        callbacks=callbacks,
    )


def dpo(task, settings, callbacks):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        model=str(task.model),
        args=DPOConfig(**settings, model_init_kwargs={"dtype": "float32"}),
        train_dataset=Dataset.from_list(task.pairs),
        processing_class=task.tokenizer,
        callbacks=callbacks,
    )


TRAINERS = {"ppo": ppo, "grpo": grpo, "rloo": rloo, "dpo": dpo}

if __name__ == "__main__":
    main()

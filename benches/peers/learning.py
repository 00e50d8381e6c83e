"""Rein beside TRL: the same policy, task and settings, and what came of it: python learning.py --help."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import frontier
from recipes import MAX_NEW_TOKENS, RECIPES, recipe

HERE = Path(__file__).parent


def main():
    settings = arguments()
    # The libraries read these when they are loaded.
    os.environ["OMP_NUM_THREADS"] = str(settings.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    settings.task = settings.task or export(settings)
    runs = [
        (algorithm, side, seed, settings.out / f"{algorithm}-{side}-{seed}")
        for algorithm in settings.algorithms
        for seed in range(1, settings.seeds + 1)
        for side in SIDES
    ]
    for algorithm, side, seed, out in runs:
        once(out, lambda: SIDES[side](settings, algorithm, seed, out))
    compare(settings, runs)


def arguments():
    parser = argparse.ArgumentParser(description="Compares what Rein and TRL learn.")
    parser.add_argument("--program", type=Path, required=True, help="Rein")
    parser.add_argument("--ppo-python", type=Path, help="a Python with requirements.txt, for PPO")
    parser.add_argument("--task", type=Path, help="a folder that `rein bench learn` exported; else made")
    parser.add_argument("--out", type=Path, required=True, help="where runs lie; finished ones are kept")
    parser.add_argument("--algorithms", type=names, default=list(RECIPES), help="a,b")
    parser.add_argument("--seeds", type=int, choices=range(2, 101), default=3, metavar="N")
    parser.add_argument("--samples", type=int, default=8, help="of each held-out problem, by the judge")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def names(text):
    chosen = text.split(",")
    unknown = set(chosen) - set(RECIPES)
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    return chosen


def export(settings):
    folder = settings.out / "task"
    once(folder, lambda: [settings.program, "bench", "learn", "--task", "arithmetic", "--export", folder])
    return folder


def trl_run(settings, algorithm, seed, out):
    python = settings.ppo_python if algorithm == "ppo" else None
    command = [python or sys.executable, HERE / "trl_runs.py", algorithm, "--task", settings.task]
    command += ["--seed", seed, "--out", out]
    if algorithm == "ppo":
        command += ["--value", value_model(settings, seed)]
    return [*command, "--threads", settings.threads]


def rein_run(settings, algorithm, seed, out):
    return rein(settings, algorithm, seed, out) + recipe(algorithm, settings.task).arguments()


def rein(settings, algorithm, seed, out):
    command = [settings.program, "bench", "learn", "--from", settings.task, "--out", out]
    return [*command, "--algorithms", algorithm, "--seed", seed]


def value_model(settings, seed):
    """The value model that Rein's run with this seed begins with: saved after a step that moves nothing."""
    out = settings.out / f"value-{seed}"
    unmoved = ["--set", "rl.steps=1", "--set", "rl.optimizer.learning_rate=1e-30"]
    once(out, lambda: rein(settings, "ppo", seed, out) + unmoved)
    return next(out.glob("**/value_model"))


SIDES = {"trl": trl_run, "rein": rein_run}


def once(out, command):
    """Runs a command that fills a folder, unless it is done."""
    done = out.with_name(out.name + ".done")
    if done.exists():
        return
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    environment = os.environ | {"RAYON_NUM_THREADS": os.environ["OMP_NUM_THREADS"]}
    with open(out.with_name(out.name + ".log"), "w", encoding="utf-8") as log:
        result = subprocess.run(list(map(str, command())), stdout=log, stderr=log, env=environment)
    if result.returncode:
        raise SystemExit(f"{out.name} failed; see {log.name}")
    done.touch()
    print(f"{out.name}: {time.monotonic() - start:.0f} s", file=sys.stderr)


def compare(settings, runs):
    """Judges all policies and prints what each is worth, and the table."""
    from exact_match import Task
    from judge import Judge

    judge = Judge(Task(settings.task), settings.samples, MAX_NEW_TOKENS)
    tell(judge.verdict(settings.task / "model"), algorithm=None)
    table = [frontier.HEADING]
    for algorithm in settings.algorithms:
        mine = [run for run in runs if run[0] == algorithm]
        ends = by_side(mine, judge.verdict)
        kl = frontier.nearest(ends)
        at_equal = by_side(mine, lambda folder: judge.verdict_at(kl, folder), nearer_to=kl)
        table.append(frontier.row(algorithm, ends, at_equal))
    print("\n".join(table))


def by_side(runs, verdict_of, **about):
    """Verdicts on the policies that runs ended with, told one by one."""
    verdicts = {side: [] for side in SIDES}
    for algorithm, side, seed, out in runs:
        verdict = verdict_of(last_policy(out))
        tell(verdict, algorithm=algorithm, side=side, seed=seed, **about)
        verdicts[side].append(verdict)
    return verdicts


def last_policy(out):
    configs = [*out.glob("**/step-*/config.json"), *out.glob("**/step-*/model/config.json")]
    if not configs:
        raise SystemExit(f"{out} holds no policies")
    return max(configs, key=lambda config: re.search(r"/step-(\d+)", str(config))[1]).parent


def tell(verdict, **about):
    print(json.dumps(about | asdict(verdict)), flush=True)


if __name__ == "__main__":
    main()

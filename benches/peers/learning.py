"""Rein beside TRL: the same policy, task and settings, and what came of it: python learning.py --help."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import frontier
from recipes import MAX_NEW_TOKENS, RECIPES

HERE = Path(__file__).parent


def main():
    settings = arguments()
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
    show(settings, curves(settings, runs))


def arguments():
    parser = argparse.ArgumentParser(description="Compares what Rein and TRL learn.")
    parser.add_argument("--program", type=Path, required=True, help="Rein")
    parser.add_argument("--ppo-python", type=Path, help="a Python with requirements.txt, for PPO")
    parser.add_argument("--task", type=Path, help="a folder that `rein bench learn` exported; else made")
    parser.add_argument("--out", type=Path, required=True, help="where runs lie; finished ones are kept")
    parser.add_argument("--algorithms", type=names, default=list(RECIPES), help="a,b")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=16, help="of each held-out problem, by the judge")
    parser.add_argument("--save-every", type=int, default=10, help="steps between policies")
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
    command += ["--seed", seed, "--out", out, "--save-every", settings.save_every]
    return [*command, "--threads", settings.threads]


def rein_run(settings, algorithm, seed, out):
    section = "dpo" if algorithm == "dpo" else "rl"
    command = [settings.program, "bench", "learn", "--from", settings.task, "--out", out]
    command += ["--algorithms", algorithm, "--seed", seed, *RECIPES[algorithm].arguments()]
    command += ["--set", f"{section}.checkpoints.save_every={settings.save_every}"]
    return [*command, "--set", f"{section}.checkpoints.keep_last=1000"]


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


def curves(settings, runs):
    """For each algorithm and side the runs, of each (KL, reward) by steps."""
    # Loaded here, so that --help needs no libraries.
    from exact_match import Task
    from judge import Judge

    judge = Judge(Task(settings.task), settings.samples, MAX_NEW_TOKENS)
    start = judge.verdict(settings.task / "model")
    print(json.dumps({"algorithm": None, "step": 0, **start}))
    curves = defaultdict(list)
    for algorithm, side, seed, out in runs:
        curve = [(0.0, start["reward"])]
        for step, folder in policies(out):
            verdict = remembered(folder, judge)
            print(json.dumps({"algorithm": algorithm, "side": side, "seed": seed, "step": step, **verdict}))
            curve.append((verdict["kl"], verdict["reward"]))
        curves[algorithm, side].append(curve)
    return curves


def policies(out):
    """Saved policies by their steps."""
    configs = [*out.glob("**/step-*/config.json"), *out.glob("**/step-*/model/config.json")]
    step = re.compile(r"/step-(\d+)")
    found = {int(step.search(str(config))[1]): config.parent for config in configs}
    if not found:
        raise SystemExit(f"{out} holds no policies")
    return sorted(found.items())


def remembered(folder, judge):
    file = folder / "verdict.json"
    if not file.exists():
        file.write_text(json.dumps(judge.verdict(folder)), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def show(settings, curves):
    print(frontier.HEADING)
    for algorithm in settings.algorithms:
        print(frontier.row(algorithm, curves[algorithm, "trl"], curves[algorithm, "rein"]))


if __name__ == "__main__":
    main()

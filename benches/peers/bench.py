"""Times one workload and prints its figures as a line of JSON: python bench.py --help."""

import argparse
import contextlib
import json
import os
import sys


def main():
    settings = arguments()
    # The libraries read these when they are loaded.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(settings.threads)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    # Only the figures go to the standard output, whatever the libraries have to tell.
    with contextlib.redirect_stdout(sys.stderr):
        figures = measure(settings)
    print(json.dumps(figures))


def arguments():
    parser = argparse.ArgumentParser(description="Times one workload of transformers or TRL.")
    parser.add_argument("workload", choices=("sft", "rollout", "ppo"))
    parser.add_argument("--shape", choices=("S", "M", "L", "XL"), default="S")
    parser.add_argument("--threads", type=positive, default=os.cpu_count())
    parser.add_argument("--iters", type=positive, default=5, help="timed runs")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args()


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def measure(settings):
    import torch

    import workloads
    from shapes import SHAPES

    if settings.workload == "ppo":
        from ppo import ppo as workload
    else:
        workload = getattr(workloads, settings.workload)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    dtype_name = {"float32": "f32", "bfloat16": "bf16"}[settings.dtype]
    settings.dtype = getattr(torch, settings.dtype)
    n_params, seconds, n_tokens = workload(SHAPES[settings.shape], settings)
    seconds.sort()
    median = seconds[len(seconds) // 2]
    figures = {
        "what": settings.workload,
        "shape": settings.shape,
        "params": n_params,
        "backend": "trl" if settings.workload == "ppo" else "transformers",
        "threads": settings.threads,
        "dtype": dtype_name,
        "median": median,
        "min": seconds[0],
        "max": seconds[-1],
        "tokens_per_s": n_tokens / median,
        "peak_rss_mib": peak_resident_mib(),
    }
    if settings.device == "cuda":
        figures["peak_device_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return figures


def peak_resident_mib():
    """The most memory that this process has held, or None where nobody says."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


if __name__ == "__main__":
    main()

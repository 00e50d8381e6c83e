"""Whether transformers reads reward models that Rein saved: equal scores for equal rows.

    rein score --model DIR --input rows.jsonl --output scores.jsonl
    python benches/peers/classifier.py DIR rows.jsonl scores.jsonl

`rows.jsonl` holds `input_ids`. Rein's scores are normalised; `mean` and `std` of the model's config undo that. Rows go
through transformers one by one, without padding, which it would look for by the pad token's id.
"""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification

TOLERANCE = 1e-4


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.strip()]


@torch.no_grad()
def main(folder, rows, scores):
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    odd = {key: value for key, value in loading.items() if value}
    if odd:
        sys.exit(f"{folder}: transformers is not content with the weights: {odd}")
    model.eval()
    mean, std = getattr(model.config, "mean", 0.0), getattr(model.config, "std", 1.0)
    worst = 0.0
    rows, scores = lines(rows), lines(scores)
    if not rows or len(rows) != len(scores):
        sys.exit(f"{len(rows)} rows and {len(scores)} scores")
    for row, score in zip(rows, scores):
        theirs = model(input_ids=torch.tensor([row["input_ids"]])).logits.item()
        ours = score["score"] * std + mean
        worst = max(worst, abs(ours - theirs))
    print(f"{folder}: {type(model).__name__}, {len(rows)} rows, largest difference {worst:.2e}")
    if not worst < TOLERANCE:
        sys.exit(f"more than {TOLERANCE}")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The table: where both sides end, and what they are worth at the same distance from the initial policy."""

from statistics import mean, stdev

HEADING = """\
| algorithm | final reward, TRL | Rein | final KL, TRL | Rein | equal KL | reward there, TRL | Rein | Rein is |
|---|---|---|---|---|---|---|---|---|"""


def row(algorithm, ends, at_equal):
    """A line of the table, from the verdicts of each side's runs."""
    finals = [
        spread([getattr(verdict, part) for verdict in ends[side]])
        for part in ("reward", "kl")
        for side in ("trl", "rein")
    ]
    rewards = [[verdict.reward for verdict in at_equal[side]] for side in ("trl", "rein")]
    kl = f"{nearest(ends):.3f}"
    figures = [algorithm, *finals, kl, *map(spread, rewards), judgement(*rewards)]
    return "| " + " | ".join(figures) + " |"


def nearest(ends):
    """How far all runs of both sides went, at least."""
    return min(verdict.kl for verdicts in ends.values() for verdict in verdicts)


def spread(values):
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def judgement(peer, rein):
    """Against the larger of both sides' deviations between seeds."""
    lead, noise = mean(rein) - mean(peer), max(stdev(peer), stdev(rein))
    if lead > noise:
        return "better"
    return "within the spread" if lead >= -noise else "worse"

"""Reward against KL: where two sides stand at the same distance from the initial policy."""

from statistics import mean, stdev


def common_kl(curves):
    """The farthest that every run went."""
    return min(curve[-1][0] for curve in curves)


def reward_at(kl, curve):
    """The reward where a run, a list of (KL, reward) by steps, passed this KL for the last time."""
    for (near, worse), (far, better) in reversed(list(zip(curve, curve[1:]))):
        if min(near, far) <= kl <= max(near, far):
            share = (kl - near) / (far - near) if far != near else 1.0
            return worse + share * (better - worse)
    raise ValueError(f"the run never passed {kl} nats: {curve}")


def row(algorithm, peer, rein):
    """A line of the table, of three runs or more on each side."""
    kl = common_kl(peer + rein)
    at_equal = [[reward_at(kl, curve) for curve in curves] for curves in (peer, rein)]
    ends = [
        spread([curve[-1][part] for curve in curves])
        for part in (1, 0)
        for curves in (peer, rein)
    ]
    figures = [*ends, f"{kl:.3f}", *map(spread, at_equal), judgement(*at_equal)]
    return f"| {algorithm} | " + " | ".join(figures) + " |"


HEADING = """\
| algorithm | final reward, TRL | Rein | final KL, TRL | Rein | equal KL | reward there, TRL | Rein | Rein is |
|---|---|---|---|---|---|---|---|---|"""


def spread(values):
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def judgement(peer, rein):
    """Against the larger of both sides' deviations between seeds."""
    lead, noise = mean(rein) - mean(peer), max(stdev(peer), stdev(rein))
    if lead > noise:
        return "better"
    return "within the spread" if lead >= -noise else "worse"

//! Bradley-Terry with its variants.

use rein_data::seed::Seed;
use rein_feedback::ability::{
    BradleyTerry, Comparison, Comparisons, NoisyBradleyTerry, Outcome, PositionBias, Ties,
};
use serde_json::Value;

use super::{assert_close, fixture, index, list, number};

const LIKELIHOOD: BradleyTerry =
    BradleyTerry { ridge: 0.0, ties: Ties::HalfWins, bias: PositionBias::None };

fn comparisons(file: &Value) -> Comparisons {
    let comparison = |row: &Value| Comparison {
        left: index(&row["left"]),
        right: index(&row["right"]),
        worker: index(&row["worker"]),
        outcome: if index(&row["left_wins"]) == 1 { Outcome::Left } else { Outcome::Right },
    };
    let rows: Vec<Comparison> = list(&file["comparisons"]).iter().map(comparison).collect();
    Comparisons::new(&rows).expect("different items").0
}

#[test]
fn scores_and_their_errors() {
    let file = fixture("bradley_terry.json");
    let (rows, tolerance) = (comparisons(&file), number(&file["tolerance"]));
    let fit = LIKELIHOOD.fit(&rows).expect("5 items");
    let want = &file["mle"];
    assert!(fit.converged);
    assert_close("scores", &fit.scores, &want["scores_centered"], tolerance);
    assert_close("errors", &fit.std_errors, &want["std_err"], tolerance);
    assert_close("loglik", &[fit.loglik], &want["loglik"], tolerance);

    let ridge = BradleyTerry { ridge: 0.1, ..LIKELIHOOD }.fit(&rows).expect("5 items");
    assert_close("with a ridge", &ridge.scores, &file["ridge"]["scores"], tolerance);
    assert_close("its objective", &[-ridge.objective], &file["ridge"]["objective"], tolerance);
}

#[test]
fn people_who_like_the_left_side() {
    let file = fixture("bradley_terry.json");
    let (rows, tolerance) = (comparisons(&file), number(&file["tolerance"]));
    let want = &file["position_bias"];
    let fit = BradleyTerry { bias: PositionBias::Shared { ridge: 0.0 }, ..LIKELIHOOD }
        .fit(&rows)
        .expect("5 items");
    assert_close("scores", &fit.scores, &want["scores_centered"], tolerance);
    assert_close("bias", &fit.bias[..1], &want["b"], tolerance);
    assert_close("loglik", &[fit.loglik], &want["loglik"], tolerance);
    let ratio = 2.0 * (fit.loglik - LIKELIHOOD.fit(&rows).expect("5 items").loglik);
    assert_close("likelihood ratio", &[ratio], &want["lr_statistic_vs_no_bias"], tolerance);

    let want = &file["per_worker_position_bias"];
    let bias = PositionBias::PerWorker { ridge: 0.1 };
    let fit = BradleyTerry { ridge: 0.01, bias, ..LIKELIHOOD }.fit(&rows).expect("5 items");
    assert_close("scores by worker", &fit.scores, &want["scores"], tolerance);
    assert_close("biases", &fit.bias, &want["b"], tolerance);
    assert_close("objective", &[-fit.objective], &want["objective"], tolerance);
}

#[test]
fn people_who_do_not_look() {
    let file = fixture("bradley_terry.json");
    let (rows, tolerance) = (comparisons(&file), number(&file["tolerance"]));
    let want = &file["noisy_bt"];
    let fit = NoisyBradleyTerry::new(Seed::new(0)).fit(&rows);
    assert!(fit.converged);
    assert_close("objective", &[-fit.objective], &want["objective"], tolerance);
    assert_close("scores", &fit.scores, &want["scores"], tolerance);
    assert_close("habits", &fit.habit, &want["q"], tolerance);
    assert_close("skills", &fit.skill, &want["skill"], tolerance);
}

#[test]
fn ties_of_their_own_and_as_half_wins() {
    let file = fixture("bradley_terry.json");
    let (want, tolerance) = (&file["davidson_ties"], number(&file["tolerance"]));
    let mut rows = Vec::new();
    for counts in list(&want["counts_i_j_win_tie_lose"]) {
        let [left, right, n_won, n_tied, n_lost] = [0, 1, 2, 3, 4].map(|at| index(&counts[at]));
        let outcomes = [(Outcome::Left, n_won), (Outcome::Tie, n_tied), (Outcome::Right, n_lost)];
        for (outcome, n) in outcomes {
            rows.extend(vec![Comparison { left, right, worker: 0, outcome }; n]);
        }
    }
    let rows = Comparisons::new(&rows).expect("different items").0;
    let fit = BradleyTerry { ties: Ties::Davidson, ..LIKELIHOOD }.fit(&rows).expect("5 items");
    assert_close("scores", &fit.scores, &want["scores_centered"], tolerance);
    assert_close("nu", &[fit.nu.expect("Davidson's")], &want["nu"], tolerance);
    assert_close("nll", &[-fit.loglik], &want["nll"], tolerance);
    let half = LIKELIHOOD.fit(&rows).expect("5 items");
    assert_close("half wins", &half.scores, &want["half_win_bt_scores_centered"], tolerance);
}

//! Dawid-Skene, one-coin, GLAD and MACE.

use rein_data::seed::Seed;
use rein_feedback::aggregate::{
    DawidSkene, Glad, Mace, MaceFit, MaceWorker, OneCoin, Stop, Vote, Votes, majority,
};
use serde_json::Value;

use super::{assert_close, fixture, index, list, number, numbers};

fn votes(file: &Value) -> Votes {
    let vote = |row: &Value| Vote {
        task: index(&row["task"]),
        worker: index(&row["worker"]),
        label: index(&row["label"]),
    };
    let rows: Vec<Vote> = list(&file["responses"]).iter().map(vote).collect();
    let (votes, _) = Votes::new(&rows).expect("few labels");
    let sizes = [votes.n_tasks(), votes.n_workers(), votes.n_labels()];
    assert_eq!(sizes, ["n_tasks", "n_workers", "n_classes"].map(|key| index(&file[key])));
    votes
}

/// The fixtures' settings: no smoothing, counts of 1e-10 at least.
fn as_published(stop: Stop) -> DawidSkene {
    DawidSkene { smoothing: 0.0, floor: 1e-10, stop }
}

const TO_THE_END: Stop = Stop { max_iterations: 1000, tolerance: 1e-11 };

#[test]
fn dawid_and_skene_s_patients() {
    let file = fixture("dawid_skene_1979.json");
    let (votes, tolerance) = (votes(&file), number(&file["tolerance"]));
    let fit = as_published(TO_THE_END).fit(&votes);
    let want = &file["converged"];
    assert_close("posterior", &fit.consensus.posterior.concat(), &want["posterior"], tolerance);
    assert_close("prior", &fit.prior, &want["prior"], tolerance);
    assert_close("errors", &fit.confusion.concat().concat(), &want["errors"], tolerance);
    assert_close("loglik", &[fit.consensus.loglik], &want["loglik"], tolerance);
    assert_eq!(fit.consensus.n_iterations, index(&want["iterations"]));
    assert!(fit.consensus.converged);

    let history = list(&want["loglik_history_first10"]);
    for (number, want) in history.iter().enumerate() {
        let stop = Stop { max_iterations: number + 1, tolerance: 0.0 };
        let consensus = as_published(stop).fit(&votes).consensus;
        assert_close("loglik on the way", &[consensus.loglik], want, tolerance);
    }
    let stop = Stop { max_iterations: 5, tolerance: 0.0 };
    let posterior = as_published(stop).fit(&votes).consensus.posterior;
    assert_close("after 5", &posterior.concat(), &file["after_5_ME_steps"]["posterior"], tolerance);
}

#[test]
fn the_paper_s_table_to_two_decimals() {
    let file = fixture("dawid_skene_1979.json");
    let fit = as_published(TO_THE_END).fit(&votes(&file));
    let published = &file["published_check"];
    assert_close("prior", &fit.prior, &published["prior"], 0.005);
    let errors = fit.confusion[0].concat();
    assert_close("observer 1", &errors, &published["observer1_errors"], 0.005);
}

fn assert_accuracy(what: &str, labels: &[Option<usize>], file: &Value, want: &Value) {
    let truth = list(&file["truth"]).iter().map(index);
    let n_right = labels.iter().zip(truth).filter(|(label, truth)| **label == Some(*truth)).count();
    assert_close(what, &[n_right as f64 / labels.len() as f64], want, 1e-12);
}

#[test]
fn confusion_matrices_see_through_spam() {
    let file = fixture("binary_spam_dawid_skene_glad.json");
    let (votes, tolerance) = (votes(&file), number(&file["tolerance"]["dawid_skene"]));
    let counted = majority(&votes).labels();
    assert_accuracy("majority", &counted, &file, &file["majority_accuracy"]);

    let want = &file["dawid_skene"];
    let fit = as_published(TO_THE_END).fit(&votes);
    assert_close("posterior", &fit.consensus.posterior.concat(), &want["posterior"], tolerance);
    assert_close("prior", &fit.prior, &want["prior"], tolerance);
    assert_close("errors", &fit.confusion.concat().concat(), &want["errors"], tolerance);
    assert_close("loglik", &[fit.consensus.loglik], &want["loglik"], tolerance);
    assert_accuracy("accuracy", &fit.consensus.labels(), &file, &want["accuracy"]);
}

#[test]
fn one_coin_sees_through_spam() {
    let file = fixture("binary_spam_dawid_skene_glad.json");
    let (votes, want) = (votes(&file), &file["one_coin"]);
    let stop = Stop { max_iterations: 2000, tolerance: 0.0 };
    let fit = OneCoin { smoothing: 0.0, stop }.fit(&votes);
    assert_close("posterior", &fit.consensus.posterior.concat(), &want["posterior"], 1e-6);
    for (worker, skill) in fit.skill.iter().enumerate() {
        assert_close("skill", &[*skill], &want["skills"][format!("w{worker}")], 1e-6);
    }
    assert_accuracy("accuracy", &fit.consensus.labels(), &file, &want["accuracy"]);
}

#[test]
fn glad_sees_through_spam() {
    let file = fixture("binary_spam_dawid_skene_glad.json");
    let (votes, want) = (votes(&file), &file["glad"]);
    let tolerance = number(&file["tolerance"]["glad"]);
    let fit = Glad::default().fit(&votes);
    assert!(fit.consensus.converged);
    assert_close("objective", &[fit.objective], &want["map_objective"], 1e-9);
    assert_close("alpha", &fit.skill, &want["alpha"], tolerance);
    assert_close("beta", &fit.easiness, &want["beta"], tolerance);
    assert_close("posterior", &fit.consensus.posterior.concat(), &want["posterior"], tolerance);
    assert_accuracy("accuracy", &fit.consensus.labels(), &file, &want["accuracy"]);
}

fn assert_mace(what: &str, fit: &MaceFit, want: &Value, tolerance: f64) {
    let know: Vec<f64> = fit.workers.iter().map(|it| it.know).collect();
    let habits: Vec<f64> = fit.workers.iter().flat_map(|it| it.habit.clone()).collect();
    assert_close(&format!("{what}: know"), &know, &want["know"], tolerance);
    assert_close(&format!("{what}: xi"), &habits, &want["xi"], tolerance);
    assert_close(what, &fit.consensus.posterior.concat(), &want["posterior"], tolerance);
    assert_close(&format!("{what}: loglik"), &[fit.consensus.loglik], &want["loglik"], tolerance);
}

#[test]
fn mace_from_a_start_and_from_many() {
    let labels = fixture("binary_spam_dawid_skene_glad.json");
    let file = fixture("mace_em.json");
    let (votes, tolerance) = (votes(&labels), number(&file["tolerance"]));
    let know = numbers(&file["init"]["know"]);
    let habits = list(&file["init"]["xi"]).iter().map(numbers);
    let start =
        know.into_iter().zip(habits).map(|(know, habit)| MaceWorker { know, habit }).collect();

    let stop = Stop { max_iterations: index(&file["iterations"]), tolerance: 0.0 };
    let mace = Mace { stop, ..Mace::new(Seed::new(0)) };
    let near = mace.fit_from(&votes, start);
    assert_mace("from a start", &near, &file["result"], tolerance);
    assert_accuracy("accuracy", &near.consensus.labels(), &labels, &file["result"]["accuracy"]);
    let restarted = Mace { stop: TO_THE_END, ..mace }.fit(&votes);
    assert_mace("from many", &restarted, &file["best_of_50_restarts"], tolerance);
}

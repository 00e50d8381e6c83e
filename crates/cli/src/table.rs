//! What a run came to, for people to read on a terminal.

mod breakdown;
mod personal;

use std::fmt::Write;
use std::path::Path;

use crate::pipeline::{
    Agreement, Attacked, COMPARISONS, Evaluation, History, JudgeReport, ModelReport, PeopleReport,
    RoundReport, Versus,
};

pub(crate) use personal::personal;

/// The table of all models, how well the reward model judges, and samples.
pub(crate) fn render(evaluation: &Evaluation) -> String {
    let mut text = String::new();
    models(&mut text, &evaluation.models);
    victories(&mut text, &evaluation.versus);
    breakdown::best_of(&mut text, &evaluation.best_of);
    breakdown::categories(&mut text, &evaluation.categories);
    breakdown::regression(&mut text, evaluation.regression.as_ref());
    if let Some(judge) = &evaluation.judge {
        judges(&mut text, judge);
    }
    samples(&mut text, &evaluation.models);
    text
}

fn models(text: &mut String, models: &[ModelReport]) {
    let has_gold = models.iter().any(|model| model.gold.is_some());
    let width = width(models);
    let mut header = format!("\n{:<width$} {:>9} {:>9}", "model", "loss", "reward");
    if has_gold {
        let _ = write!(header, " {:>15}", "gold (± std)");
    }
    let judges = models.first().map(|model| &model.judges[..]).unwrap_or_default();
    for judge in judges {
        let _ = write!(header, " {:>9}", judge.by);
    }
    let ends = if has_gold { "ends properly" } else { "ends" };
    let _ = writeln!(text, "{header} {:>9} {ends:>13} {:>7}", "KL", "length");
    for model in models {
        let _ = write!(
            text,
            "{:<width$} {:>9} {:>9}",
            model.name,
            number(model.heldout_loss),
            number(model.reward)
        );
        if let (Some(gold), Some(std)) = (model.gold, model.gold_std) {
            let _ = write!(text, " {:>15}", format!("{gold:.2} ± {std:.2}"));
        }
        for judge in &model.judges {
            let width = judge.by.len().max(9);
            let _ = write!(text, " {:>width$}", number(Some(judge.mean)));
        }
        let ends = format!("{:.1} %", 100.0 * model.ends);
        let _ = writeln!(text, " {:>9.2} {ends:>13} {:>7.1}", model.kl, model.length);
    }
}

/// Columns of the longest name.
fn width(models: &[ModelReport]) -> usize {
    models.iter().map(|model| model.name.len()).max().unwrap_or(0).max(8)
}

/// How often policies beat others.
fn victories(text: &mut String, versus: &[Versus]) {
    let who = |it: &Versus| format!("{} against {}, by {}", it.model, it.against, it.by);
    let Some(width) = versus.iter().map(|it| who(it).len()).max() else { return };
    let _ = writeln!(text, "\nWins on the same prompts, ties as half");
    for it in versus {
        let who = who(it);
        let [low, high] = it.wilson.map(|it| 100.0 * it);
        let _ = write!(
            text,
            "  {who:<width$} {:>5.1} % of {} (95 % interval {low:.1} to {high:.1} %)",
            100.0 * it.rate,
            it.wins + it.ties + it.losses
        );
        if let Some(rate) = it.at_equal_length {
            let _ = write!(text, "; at equal length {:.1} %", 100.0 * rate);
        }
        let _ = writeln!(text);
    }
}

/// How far people are who compare policies of the run in this folder, and what comes next.
pub(crate) fn people(report: &PeopleReport, launcher: &str, run: &Path) -> String {
    let PeopleReport { n_asked, n_judged, .. } = report;
    let mut text = format!("people have judged {n_judged} of {n_asked} pairs\n");
    if n_judged < n_asked {
        let run = run.display();
        let _ = writeln!(
            text,
            "  to let them: {launcher} feedback serve --run {run} --project {COMPARISONS}"
        );
        let _ = writeln!(text, "  then, for what they say: {launcher} evaluate --run {run}");
    }
    text
}

/// The rounds of a loop side by side, and why each ended as it did; nothing where there was none.
pub(crate) fn rounds(history: &History) -> String {
    let mut text = String::new();
    if history.rounds.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "\n{:<8} {:>7} {:>8} {:>9} {:>9} {:>9} {:>9} {:>14}   verdict",
        "round", "pairs", "answers", "judge", "reward", "gold", "KL", "wins over SFT"
    );
    for round in &history.rounds {
        let judge = round.accuracy.map_or("-".into(), |it| format!("{:.1} %", 100.0 * it));
        let _ = writeln!(
            text,
            "{:<8} {:>7} {:>8} {judge:>9} {:>9} {:>9} {:>9.2} {:>14}   {}",
            round.number,
            round.pairs,
            round.answers,
            number(round.reward),
            number(round.gold),
            round.kl,
            format!("{:.1} %", 100.0 * round.against_fine_tuned.rate),
            verdict(round)
        );
    }
    let _ = writeln!(text);
    for round in &history.rounds {
        if let Some(Attacked { attacker, .. }) = &round.red_team {
            let _ =
                write!(text, "{}", attacker.render(&format!("attacks on round {}", round.number)));
        }
    }
    text
}

fn verdict(round: &RoundReport) -> String {
    let reason = &round.verdict.reason;
    if round.verdict.keeps() { reason.clone() } else { format!("taken back: {reason}") }
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".into(), |value| format!("{value:.3}"))
}

fn judges(text: &mut String, judge: &JudgeReport) {
    let whose = if judge.against == "gold" { "the truth" } else { "people" };
    let _ = writeln!(text, "\nThe reward model agrees with {whose} on held-out");
    let mut line = |what: &str, agreement: &Agreement| {
        let (low, high) = agreement.interval;
        let _ = write!(
            text,
            "  {what:<32} {:>5.1} % of {} (95 % interval {:.1} to {:.1} %)",
            100.0 * agreement.accuracy,
            agreement.n_pairs,
            100.0 * low,
            100.0 * high
        );
        if let Some(words) = agreement.bag_of_words {
            let _ = write!(text, "; counting words: {:.1} %", 100.0 * words);
        }
        let _ = writeln!(text);
    };
    line("judgements", &judge.all);
    if let Some(far) = &judge.far {
        line("pairs further apart than half", far);
    }
}

/// The same prompts, model by model, so that the change can be read.
fn samples(text: &mut String, models: &[ModelReport]) {
    let n_samples = models.first().map_or(0, |model| model.samples.len());
    let width = width(models);
    for sample in 0..n_samples {
        let _ = writeln!(text, "\n> {}", models[0].samples[sample].prompt.trim());
        for model in models {
            let shown = &model.samples[sample];
            let score = match (shown.gold, shown.reward) {
                (Some(gold), _) => format!("gold {gold:+.2}"),
                (None, Some(reward)) => format!("reward {reward:+.2}"),
                (None, None) => String::new(),
            };
            let cut = if shown.finished { "" } else { " …" };
            let reply = one_line(&shown.reply);
            let _ = writeln!(text, "  {:<width$} {score:<11} {reply}{cut}", model.name);
        }
    }
    let _ = writeln!(text);
    for model in models {
        if let Some(folder) = &model.folder {
            let _ = writeln!(text, "{:<width$} {}", format!("{}:", model.name), folder.display());
        }
    }
}

/// What a model wrote, without anything that would move a terminal's cursor or colours.
fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().map(|mark| if mark.is_control() { ' ' } else { mark }).collect();
    if let Some((end, _)) = line.char_indices().nth(300) {
        line.truncate(end);
        line.push('…');
    }
    line.trim().to_owned()
}

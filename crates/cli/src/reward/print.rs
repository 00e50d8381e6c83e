//! What was found out about a reward model, for people to read.

use std::fmt::Write;

use rein_reward::report::{Accuracy, Coefficient, Report};
use rein_reward::swaps::Difference;

use super::evaluate::Found;

/// A report in a few lines, for a run's log.
pub(crate) fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let Accuracy { value, low, high, n_cases } = report.accuracy;
    if n_cases > 0 {
        lines.push(format!(
            "agrees with {:.1} % of {n_cases} held-out judgements (95 % interval {:.1} to {:.1} %)",
            100.0 * value,
            100.0 * low,
            100.0 * high
        ));
    }
    if let Some(it) = report.calibration {
        lines.push(format!(
            "calibration error {:.3}, Brier score {:.3}, temperature {:.2}",
            it.ece, it.brier, it.temperature
        ));
    }
    if let Some(it) = report.correlation {
        lines.push(format!(
            "rank correlation with the scores {:.3} ({:.3} to {:.3})",
            it.value, it.low, it.high
        ));
    }
    if let (Some(people), Some(model)) = (report.length.of_people, report.length.of_model) {
        let (people, model) = (interval(people), interval(model));
        lines.push(format!("log-odds of the longer reply: {model}, and people's {people}"));
    }
    lines
}

fn interval(it: Coefficient) -> String {
    format!("{:+.2} ({:+.2} to {:+.2})", it.value, it.low, it.high)
}

/// All of it, for a terminal.
pub(super) fn table(found: &Found) -> String {
    let mut text = String::new();
    for note in &found.notes {
        let _ = writeln!(text, "{note}");
    }
    if let Some(report) = &found.report {
        accuracies(&mut text, report);
        trust(&mut text, report);
    }
    swaps(&mut text, "reward, in deviations", &found.reward_swaps);
    swaps(&mut text, "log-probability of a completion, in nats", &found.policy_swaps);
    text
}

fn accuracies(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\n{:<28} {:>8} {:>18} {:>7}", "accuracy", "", "95 % interval", "cases");
    let mut row = |name: &str, it: &Accuracy| {
        let interval = format!("{:.1} to {:.1} %", 100.0 * it.low, 100.0 * it.high);
        let value = format!("{:.1} %", 100.0 * it.value);
        let _ = writeln!(text, "{:<28} {value:>8} {interval:>18} {:>7}", clean(name), it.n_cases);
    };
    if report.accuracy.n_cases > 0 {
        row("all", &report.accuracy);
    }
    if let Some(it) = &report.best_of {
        row("the best scored highest", it);
    }
    report.categories.iter().for_each(|(name, it)| row(name, it));
    for band in &report.by_margin {
        row(&format!("margin {:.2} to {:.2}", band.from, band.to), &band.accuracy);
    }
    report.by_length.iter().for_each(|(name, it)| row(name, it));
    if let Some(mean) = report.mean_of_categories {
        let _ = writeln!(text, "mean of categories {:.1} %", 100.0 * mean);
    }
}

fn trust(text: &mut String, report: &Report) {
    text.push('\n');
    if let Some(it) = report.calibration {
        let _ = writeln!(
            text,
            "calibration error {:.3} (15 bins), {:.3} at temperature {:.3}; Brier score {:.3}, {:.3} nats",
            it.ece, it.ece_at_temperature, it.temperature, it.brier, it.nll
        );
    }
    if let Some(it) = report.correlation {
        let _ = writeln!(
            text,
            "rank correlation with the scores {:.3} ({:.3} to {:.3})",
            it.value, it.low, it.high
        );
    }
    let length = &report.length;
    let coefficients = [("the model's", length.of_model), ("people's", length.of_people)];
    for (whose, it) in coefficients.into_iter().filter_map(|(whose, it)| Some((whose, it?))) {
        let interval = interval(it);
        let _ = writeln!(text, "{whose} log-odds of the longer side, for a deviation: {interval}");
    }
    if let Some(it) = length.correlation {
        let _ = writeln!(
            text,
            "rank correlation of score and length {:.3} ({:.3} to {:.3})",
            it.value, it.low, it.high
        );
    }
}

fn swaps(text: &mut String, what: &str, differences: &[Difference]) {
    if differences.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\nswaps: {what}\n{:<40} {:>9} {:>20} {:>6} {:>6}",
        "second group less the first one", "mean", "95 % interval", "size", "texts"
    );
    for it in differences {
        let name = format!("{}: {}, {}", it.swap, it.groups[0], it.groups[1]);
        let interval = format!("{:+.3} to {:+.3}", it.low, it.high);
        let _ = writeln!(
            text,
            "{name:<40} {:>+9.3} {interval:>20} {:>6.3} {:>6}",
            it.mean, it.mean_size, it.n_texts
        );
    }
}

/// A category's name without anything that would move a terminal's cursor, of a length that fits.
fn clean(name: &str) -> String {
    name.chars().map(|it| if it.is_control() { ' ' } else { it }).take(28).collect()
}

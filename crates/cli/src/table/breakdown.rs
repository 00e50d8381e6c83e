//! What an evaluation says beyond each model's mean.

use std::fmt::Write;

use super::{number, one_line};
use crate::pipeline::{BestOf, CategoryReport, RegressionReport};

/// Letters of a name that is shown.
const N_LETTERS: usize = 28;

/// What picking the best of several replies comes to.
pub(super) fn best_of(text: &mut String, frontier: &[BestOf]) {
    if frontier.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\nThe best of n replies of the fine-tuned model, as the reward model picks it"
    );
    let _ = writeln!(text, "{:<8} {:>9} {:>9} {:>9}", "n", "KL, most", "reward", "gold");
    for it in frontier {
        let (reward, gold) = (number(Some(it.reward)), number(it.gold));
        let _ = writeln!(text, "{:<8} {:>9.2} {reward:>9} {gold:>9}", it.n, it.kl);
    }
}

/// All models by category, as the first judge has it, and how often the newest policy wins.
pub(super) fn categories(text: &mut String, categories: &[CategoryReport]) {
    let Some(first) = categories.first() else { return };
    let judge = first.models.first().and_then(|it| it.judges.first());
    let Some(by) = judge.map(|it| &it.by) else { return };
    let names = categories.iter().map(|it| shown(&it.name).chars().count());
    let width = names.max().unwrap_or(0).max(8);
    let _ = writeln!(text, "\nBy category of the prompt, as {by} has it");
    let mut header = format!("{:<width$} {:>8}", "category", "prompts");
    for model in &first.models {
        let name: String = shown(&model.name).chars().take(14).collect();
        let _ = write!(header, " {name:>14}");
    }
    let wins = if first.wins.is_empty() { "" } else { "      wins" };
    let _ = writeln!(text, "{header}{wins}");
    for category in categories {
        let _ = writeln!(text, "{}", row(category, by, width));
    }
}

fn row(category: &CategoryReport, by: &str, width: usize) -> String {
    let mut text = format!("{:<width$} {:>8}", shown(&category.name), category.n_prompts);
    for model in &category.models {
        let mean = model.judges.iter().find(|it| it.by == by).map(|it| it.mean);
        let _ = write!(text, " {:>14}", number(mean));
    }
    if let Some(it) = category.wins.iter().find(|it| it.by == by) {
        let [low, high] = it.wilson.map(|it| 100.0 * it);
        let rate = format!("{:.1} %", 100.0 * it.rate);
        let _ = write!(text, "   {rate:>7} (95 % interval {low:.1} to {high:.1} %)");
    }
    text
}

/// How many prompts of the suite each model passes, and what was passed before and no longer is.
pub(super) fn regression(text: &mut String, report: Option<&RegressionReport>) {
    let Some(report) = report else { return };
    let _ = writeln!(text, "\nRegression suite of {} prompts", report.n_prompts);
    for model in &report.models {
        let share = 100.0 * model.n_passed as f64 / report.n_prompts as f64;
        let failed: Vec<String> = model.failed.iter().map(|it| shown(it)).collect();
        let some = failed.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let more = if failed.len() > 5 { ", …" } else { "" };
        let failed =
            if failed.is_empty() { String::new() } else { format!("; fails {some}{more}") };
        let _ = writeln!(
            text,
            "  {:<14} {:>5} passed ({share:.1} %){failed}",
            shown(&model.name),
            model.n_passed
        );
    }
    for it in &report.regressed {
        let by = it.passed_by.join(", ");
        let _ = writeln!(
            text,
            "  lost: {}, which {by} passed: {}",
            shown(&it.name),
            one_line(&it.reasons.join("; "))
        );
        let _ = writeln!(text, "        → {}", one_line(&it.reply));
    }
}

/// A name without anything that would move a terminal's cursor, of a length that fits.
fn shown(name: &str) -> String {
    one_line(name).chars().take(N_LETTERS).collect()
}

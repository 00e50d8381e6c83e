//! The smaller tables of an evaluation.

use minijinja::{Value, context};

use super::{interval, number, percent};
use crate::pipeline::{
    Agreement, Attacked, BestOf, CategoryMeans, CategoryReport, History, People, PersonReport,
    RegressionReport, RoundReport, Versus,
};

/// A row for each number of replies.
pub(super) fn best_of(frontier: &[BestOf]) -> Vec<Value> {
    let row = |it: &BestOf| {
        let kl = format!("{:.2}", it.kl);
        context! { n => it.n, kl, reward => number(Some(it.reward)), gold => number(it.gold) }
    };
    frontier.iter().map(row).collect()
}

/// A row for each person with a policy of their own.
pub(super) fn persons(people: &People) -> Vec<Value> {
    let share = |of: &Option<Agreement>| {
        of.as_ref().map_or_else(|| "–".to_owned(), |it| percent(it.accuracy))
    };
    let wins = |of: Option<&Versus>| match of {
        Some(it) => (percent(it.rate), interval(it.wilson)),
        None => ("–".to_owned(), String::new()),
    };
    let row = |it: &PersonReport| {
        let ((pooled, pooled_interval), (own, own_interval)) = (wins(it.pooled()), wins(it.own()));
        context! {
            name => it.name,
            answers => it.answers,
            right => share(&it.told_right),
            before => share(&it.told_right_before),
            pooled, pooled_interval, own, own_interval,
        }
    };
    people.people.iter().map(row).collect()
}

/// A row for each round whose policy was attacked.
pub(super) fn attacks(history: &History) -> Vec<Value> {
    let row = |round: &RoundReport| {
        let Attacked { users, attacker } = round.red_team.as_ref()?;
        Some(context! {
            number => round.number,
            users => percent(users.success_rate),
            attacker => percent(attacker.success_rate),
            interval => interval(attacker.interval),
            distinct => attacker.distinct,
            self_bleu => number(attacker.self_bleu),
        })
    };
    history.rounds.iter().filter_map(row).collect()
}

/// A table for each judge, with a row for each category.
pub(super) fn categories(categories: &[CategoryReport]) -> Vec<Value> {
    let Some(first) = categories.first() else { return Vec::new() };
    let judges = first.models.first().map(|it| &it.judges[..]).unwrap_or_default();
    let models: Vec<&str> = first.models.iter().map(|it| it.name.as_str()).collect();
    let table = |by: &String| {
        let rows: Vec<Value> = categories.iter().map(|it| category(it, by)).collect();
        context! { by, models, rows }
    };
    judges.iter().map(|it| table(&it.by)).collect()
}

fn category(it: &CategoryReport, by: &str) -> Value {
    let mean = |model: &CategoryMeans| {
        number(model.judges.iter().find(|it| it.by == by).map(|it| it.mean))
    };
    let wins = it.wins.iter().find(|it| it.by == by);
    context! {
        name => it.name,
        n_prompts => it.n_prompts,
        means => it.models.iter().map(mean).collect::<Vec<_>>(),
        wins => wins.map_or_else(|| "–".to_owned(), |it| percent(it.rate)),
        interval => wins.map_or_else(String::new, |it| interval(it.wilson)),
    }
}

/// How many prompts of the suite each model passes, and which were passed before and no longer are.
pub(super) fn regression(report: &RegressionReport) -> Value {
    let share = |n: usize| percent(n as f64 / report.n_prompts as f64);
    let models = report.models.iter().map(|it| {
        context! {
            name => it.name,
            n_passed => it.n_passed,
            share => share(it.n_passed),
            failed => it.failed.join(", "),
        }
    });
    let lost = report.regressed.iter().map(|it| {
        let (reasons, passed_by) = (it.reasons.join("; "), it.passed_by.join(", "));
        context! { name => it.name, prompt => it.prompt, reply => it.reply, reasons, passed_by }
    });
    context! {
        n_prompts => report.n_prompts,
        models => models.collect::<Vec<_>>(),
        lost => lost.collect::<Vec<_>>(),
    }
}

//! What people said in a store.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rein_data::example::Example;
use rein_feedback::cleaning::Cleaning;
use rein_feedback::{Kind, Project, Split, Store, judged};

use super::{Judgements, Parts, World, unmixed};
use crate::config::FeedbackConfig;

impl World {
    /// The same with what people said in a store, or in one project of it, in place of all other judgements.
    pub(crate) fn judged_in(mut self, store: &Path, config: &FeedbackConfig) -> Result<Self> {
        let all = Store::read(store)?;
        let name = store.display().to_string();
        let mut projects = all.projects()?;
        // How attacks went is no judgement of what people ask; it is learned from where it is asked for.
        let is_attack = |it: &Project| it.settings.kind == Kind::RedTeam;
        match &config.project {
            Some(wanted) => projects.retain(|it| it.name == *wanted),
            None if !projects.is_empty() && projects.iter().all(is_attack) => {
                bail!(
                    "{name}: holds attacks alone; name the project to learn from by `feedback.project`"
                )
            }
            None => projects.retain(|it| !is_attack(it)),
        }
        let names: Vec<String> = projects.into_iter().map(|it| it.name).collect();
        let (judgements, notes) = Judgements::said_in(&all, &names, config).context(name)?;
        self.notes.extend(notes);
        self.judgements = judgements;
        Ok(self)
    }
}

impl Judgements {
    /// What people said in these projects, many people's labels made one and rows cleaned as the config says; and what is
    /// worth a word about it.
    pub(crate) fn said_in(
        store: &Store,
        projects: &[String],
        config: &FeedbackConfig,
    ) -> Result<(Self, Vec<String>)> {
        let of_split = |split: Split| -> Result<Vec<Example>> {
            let rows = projects.iter().map(|name| judged(store, name, split, config.aggregation));
            Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        let mut parts =
            Parts { train: of_split(Split::Train)?, heldout: of_split(Split::Heldout)? };
        let mut notes = Vec::new();
        if let Some(cleaning) = &config.cleaning {
            for rows in [&mut parts.train, &mut parts.heldout] {
                notes.extend(clean(cleaning, rows));
            }
        }
        if parts.train.is_empty() {
            let place = config.project.as_ref().map(|name| format!("project `{name}`: "));
            bail!("{}nobody has judged anything yet", place.unwrap_or_default());
        }
        notes.push(format!("{} rows of what people said", parts.train.len()));
        Ok((unmixed(parts)?, notes))
    }
}

/// Keeps the rows that the rules keep; says what became of the others.
fn clean(cleaning: &Cleaning, rows: &mut Vec<Example>) -> Vec<String> {
    let report = cleaning.run(rows);
    let told = report
        .n_set_aside
        .iter()
        .map(|(rule, n_rows)| format!("{n_rows} of {} rows are set aside: {rule}", report.n_rows));
    let told = told.collect();
    *rows = report.merged(rows);
    told
}

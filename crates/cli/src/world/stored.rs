//! What people said in a store.

use std::path::Path;

use anyhow::{Context, Result, bail};
use rein_data::example::Example;
use rein_feedback::cleaning::Cleaning;
use rein_feedback::{Split, Store, judged};

use super::{Parts, World, unmixed};
use crate::config::FeedbackConfig;

impl World {
    /// The same with what people said in a store, or in one project of it, in place of all other judgements.
    pub(crate) fn judged_in(mut self, store: &Path, config: &FeedbackConfig) -> Result<Self> {
        let (project, aggregation) = (config.project.as_deref(), config.aggregation);
        let all = Store::read(store)?;
        let mut names: Vec<String> = all.projects()?.into_iter().map(|it| it.name).collect();
        if let Some(wanted) = project {
            names.retain(|name| name == wanted);
        }
        let of_split = |split: Split| -> Result<Vec<Example>> {
            let rows = names.iter().map(|name| judged(&all, name, split, aggregation));
            Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        };
        let mut parts =
            Parts { train: of_split(Split::Train)?, heldout: of_split(Split::Heldout)? };
        if let Some(cleaning) = &config.cleaning {
            for rows in [&mut parts.train, &mut parts.heldout] {
                self.notes.extend(clean(cleaning, rows));
            }
        }
        if parts.train.is_empty() {
            let place = project.map(|name| format!(", project `{name}`")).unwrap_or_default();
            bail!("{}{place}: nobody has judged anything yet", store.display());
        }
        let name = store.display();
        self.notes.push(format!("{name}: {} rows of what people said", parts.train.len()));
        self.judgements = unmixed(parts).with_context(|| name.to_string())?;
        Ok(self)
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

use std::fs;

use anyhow::{Context, Result};
use clap::Args;
use rein_data::checkpoint::write_atomically;
use rein_feedback::crowd::argilla::{Import, export};

use super::{Exchange, ExportArgs};
use crate::speech::print;

/// Tasks go to Argilla, and responses come back.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
`export` writes a data set that Argilla's SDK reads (`rg.Dataset.from_disk(\"argilla/responses-2\", name=...)`);
`import` reads the `records.json` that `dataset.records.to_json(...)` or `dataset.to_disk(...)` writes, as often
as more has come.

Example:
  rein feedback argilla export --store judged.sqlite --out argilla
  rein feedback argilla import --store judged.sqlite records.json")]
pub(in crate::feedback) struct ArgillaArgs {
    #[command(subcommand)]
    command: Exchange,
}

pub(in crate::feedback) fn run(args: &ArgillaArgs) -> Result<()> {
    args.command.run(write, |store, project, file| Import.run(store, project, file))
}

fn write(args: &ExportArgs) -> Result<()> {
    let (settings, tasks) = args.tasks()?;
    for data_set in export(&settings, &tasks) {
        let folder = args.out.join(format!("responses-{}", data_set.n_responses));
        let hidden = folder.join(".argilla");
        fs::create_dir_all(&hidden).with_context(|| hidden.display().to_string())?;
        let name = format!("{}-{}", args.of.project, data_set.n_responses);
        let model = serde_json::json!({ "name": name, "allow_extra_metadata": true });
        write_atomically(&hidden.join("dataset.json"), model.to_string().as_bytes())?;
        write_atomically(&hidden.join("settings.json"), data_set.settings.to_string().as_bytes())?;
        write_atomically(&folder.join("records.json"), data_set.records.to_string().as_bytes())?;
        print(&format!("{} records: {}\n", data_set.n_records, folder.display()));
    }
    Ok(())
}

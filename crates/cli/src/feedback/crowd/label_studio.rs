use anyhow::Result;
use clap::Args;
use rein_data::checkpoint::write_atomically;
use rein_feedback::crowd::label_studio::{Import, export};

use super::{Exchange, ExportArgs};
use crate::speech::print;

/// Tasks go to Label Studio, and annotations come back.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
`export` writes tasks (JSON) and a labelling interface (XML). In Label Studio, make a project, put the
interface under \"Labeling Setup\", \"Custom template\", and import the tasks. `import` reads its export,
JSON or JSON-MIN, as often as more has come.

Example:
  rein feedback label-studio export --store judged.sqlite --out studio
  rein feedback label-studio import --store judged.sqlite project-1-at-2026-01-05.json")]
pub(in crate::feedback) struct LabelStudioArgs {
    #[command(subcommand)]
    command: Exchange,
}

pub(in crate::feedback) fn run(args: &LabelStudioArgs) -> Result<()> {
    args.command.run(write, |store, project, file| Import.run(store, project, file))
}

fn write(args: &ExportArgs) -> Result<()> {
    let (settings, tasks) = args.tasks()?;
    for project in export(&settings, &tasks) {
        let interface = args.file("interface", project.n_responses, "xml");
        let tasks = args.file("tasks", project.n_responses, "json");
        write_atomically(&interface, project.config.as_bytes())?;
        write_atomically(&tasks, project.tasks.to_string().as_bytes())?;
        print(&format!(
            "{} tasks: {}, {}\n",
            project.n_tasks,
            tasks.display(),
            interface.display()
        ));
    }
    Ok(())
}

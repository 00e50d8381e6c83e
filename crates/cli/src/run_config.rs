//! Which config a run has, and which folder.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rein_data::run_dir::RunDir;

use crate::args::RunArgs;
use crate::config::{self, Config, ModelSource, Stage};
use crate::feedback::{POLICIES, newest};

/// The config of the run that is continued, or of the new one. How a run is measured can be set each time anew, where
/// `stage` is no other.
pub(crate) fn load_config(args: &RunArgs, stage: Option<Stage>) -> Result<Config> {
    if let Some(run) = args.run.as_deref().filter(|run| holds_run(Some(run))) {
        let measures = stage == Some(Stage::Evaluate);
        let is_fixed = |set: &String| !(measures && is_of_evaluation(set));
        if args.config.is_some() || args.set.iter().any(is_fixed) || args.feedback.is_some() {
            bail!(
                "{}: holds a run with a config of its own; leave out --config, --set and --feedback, or \
                 name another --run; only `rein evaluate` takes `--set evaluate.KEY=VALUE`",
                run.display()
            );
        }
        return saved_config(run, args, stage);
    }
    let mut sets = args.set.clone();
    let quoted = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
    if let Some(model) = &args.model {
        sets.push(format!("model={{ kind = \"pretrained\", path = {} }}", quoted(model)));
    }
    if let Some(model) = &args.reward_model {
        sets.push(format!("reward_model={}", quoted(model)));
    }
    let Some(store) = &args.feedback else {
        return config::load(args.config.as_deref(), &sets);
    };
    if !store.is_file() {
        bail!("{}: there is no such store", store.display());
    }
    sets.push(format!("feedback.store={}", quoted(store)));
    match store.parent().filter(|run| args.config.is_none() && holds_run(Some(run))) {
        Some(run) => go_on(run, args.model.is_none(), &sets),
        None => config::load(args.config.as_deref(), &sets),
    }
}

/// The config of the run in a folder; where it is only measured, as the arguments say.
pub(crate) fn saved_config(run: &Path, args: &RunArgs, stage: Option<Stage>) -> Result<Config> {
    let mut saved = config::load_saved(&run.join("config.toml"))?;
    let sets: Vec<String> = args.set.iter().filter(|it| is_of_evaluation(it)).cloned().collect();
    if stage != Some(Stage::Evaluate) || sets.is_empty() {
        return Ok(saved);
    }
    // Rounds are decided, and other judges may be named.
    if let Some(rounds) = &mut saved.rounds {
        rounds.judge = None;
    }
    config::change(&saved, &sets)
}

/// Whether a `--set` says how a run is measured.
fn is_of_evaluation(set: &str) -> bool {
    set.trim_start().starts_with("evaluate.")
}

/// The config of a run that goes on from another one, with what people said meanwhile: its newest model, which
/// was fine-tuned before, and all stages behind that.
fn go_on(run: &Path, from_its_model: bool, sets: &[String]) -> Result<Config> {
    let mut config = config::load_saved(&run.join("config.toml"))?;
    (config.reward_model, config.rounds) = (None, None);
    config.stages.retain(|stage| *stage != Stage::Feedback);
    if from_its_model {
        config.stages.retain(|stage| *stage != Stage::Sft);
        config.model = ModelSource::Pretrained { path: newest(run, &POLICIES)? };
    }
    config::change(&config, sets)
}

pub(crate) fn holds_run(run: Option<&Path>) -> bool {
    run.is_some_and(|run| run.join("config.toml").exists())
}

/// The folder of the run that is continued, or one for a new run.
pub(crate) fn run_root(args: &RunArgs) -> PathBuf {
    let name = args
        .config
        .as_deref()
        .and_then(Path::file_stem)
        .map_or("helpdesk".into(), |stem| stem.to_string_lossy());
    let free = || RunDir::free_name(&PathBuf::from("runs").join(&*name));
    args.run.clone().unwrap_or_else(free)
}

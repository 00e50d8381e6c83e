//! From a file and `--set` to a config, with errors that say where and what else.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use rein_ppo::algorithm::Algorithm;
use rein_reward::RewardSource;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Config, DEFAULT};

/// The config in `file`, or the default one, with `--set section.key=value` applied in order.
pub(crate) fn load(file: Option<&Path>, sets: &[String]) -> Result<Config> {
    let (name, text) = match file {
        Some(path) => (path.display().to_string(), read(path)?),
        None => ("the default config".to_owned(), DEFAULT.to_owned()),
    };
    let mut table: Table = text.parse().map_err(|error| syntax_error(&name, &text, &error))?;
    // The file alone first, so that its errors can name a line.
    parse(&table).map_err(|fault| anyhow!("{}", fault.in_file(&name, &text)))?;
    let config = with_sets(&mut table, sets)?;
    let origin = if sets.is_empty() { name } else { format!("{name} with --set") };
    config.resolve().context(origin)
}

/// A config with `--set section.key=value` applied in order.
pub(crate) fn change(config: &Config, sets: &[String]) -> Result<Config> {
    let mut table = Table::try_from(config).context("the config to change")?;
    with_sets(&mut table, sets)?.resolve()
}

fn with_sets(table: &mut Table, sets: &[String]) -> Result<Config> {
    for set in sets {
        apply(table, set)?;
        parse(table).map_err(|fault| anyhow!("--set {set}: {}", fault.message()))?;
    }
    parse(table).map_err(|fault| anyhow!("{}", fault.message()))
}

/// The resolved config that a run saved.
pub(crate) fn load_saved(file: &Path) -> Result<Config> {
    load(Some(file), &[])
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| {
        anyhow!("{}: {error}; `rein config` prints a config to start from", path.display())
    })
}

fn syntax_error(name: &str, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
    anyhow!("{name}:{line}: {}", error.message().lines().next().unwrap_or("not TOML"))
}

/// Sets one key: `rl.steps=50`. A value that isn't TOML is taken as text.
fn apply(table: &mut Table, set: &str) -> Result<()> {
    let Some((path, value)) = set.split_once('=') else {
        bail!("--set {set}: write it as section.key=value");
    };
    let value = format!("it = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("it"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty()).context("--set: the key is empty")?;
    let mut section = table;
    for key in keys {
        let entry = section.entry(key).or_insert_with(|| Value::Table(Table::new()));
        section =
            entry.as_table_mut().with_context(|| format!("--set {set}: `{key}` has no keys"))?;
    }
    section.insert(last.to_owned(), value);
    Ok(())
}

/// Why a config doesn't parse, and at which key.
struct Fault {
    /// The keys from the top to the one at fault.
    path: Vec<String>,
    reason: String,
}

impl Fault {
    fn message(&self) -> String {
        self.reason.clone()
    }

    fn in_file(&self, name: &str, text: &str) -> String {
        match line_of(text, &self.path) {
            Some(line) => format!("{name}:{line}: {}", self.reason),
            None => format!("{name}: {}", self.reason),
        }
    }
}

/// Sections that come in kinds, and the kind of those that don't say.
const DEFAULT_KINDS: [(&str, &str, &str); 1] = [("model", "kind", "new")];

/// Settings of `rl.algorithm`, for keys that aren't set. A name that isn't known is told of later.
fn fill_in_algorithm(rl: &mut Table) {
    let algorithm = rl.get("algorithm").cloned().and_then(|it| it.try_into::<Algorithm>().ok());
    let settings = algorithm.and_then(|it| Table::try_from(it.config()).ok());
    for (key, value) in settings.into_iter().flatten() {
        rl.entry(key).or_insert(value);
    }
}

/// The rules of a file of their own: tables `[[rewards]]`, as `[[rl.rewards]]` are in a config.
pub(crate) fn load_rules(file: &Path) -> Result<Vec<RewardSource>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rules {
        rewards: Vec<RewardSource>,
    }
    let name = file.display().to_string();
    let text = fs::read_to_string(file).with_context(|| name.clone())?;
    let table: Table = text.parse().map_err(|error| syntax_error(&name, &text, &error))?;
    let rules: Rules =
        typed(table.clone(), &table).map_err(|fault| anyhow!("{}", fault.in_file(&name, &text)))?;
    let problems = RewardSource::problems(&rules.rewards, "rewards");
    if !problems.is_empty() {
        bail!("{name}: {}", problems.join("; "));
    }
    Ok(rules.rewards)
}

fn parse(table: &Table) -> Result<Config, Fault> {
    let mut whole = table.clone();
    for (section, key, kind) in DEFAULT_KINDS {
        if let Some(section) = whole.get_mut(section).and_then(Value::as_table_mut) {
            section.entry(key).or_insert_with(|| kind.into());
        }
    }
    if let Some(rl) = whole.get_mut("rl").and_then(Value::as_table_mut) {
        fill_in_algorithm(rl);
    }
    typed(whole, table)
}

/// What a table means, which is `table` with what it leaves out.
fn typed<T: DeserializeOwned>(whole: Table, table: &Table) -> Result<T, Fault> {
    serde_path_to_error::deserialize(Value::Table(whole)).map_err(|error| {
        let path = error.path().to_string();
        let mut path: Vec<String> =
            path.split('.').filter(|key| !matches!(*key, "" | ".")).map(str::to_owned).collect();
        let reason = error.inner().to_string();
        let mut reason = reason.lines().next().unwrap_or("can't be read").trim();
        // Behind a reward's `kind` the path stops, and the reason begins with the key.
        if let Some((key, rest)) = reason.strip_prefix('`').and_then(|it| it.split_once("`: ")) {
            path.push(key.to_owned());
            reason = rest;
        }
        unknown_key(table, &path, reason)
            .unwrap_or_else(|| Fault { reason: format!("`{}`: {reason}", path.join(".")), path })
    })
}

/// serde says "unknown field `x`, expected one of `y`, `z`"; people want the path and the nearest.
fn unknown_key(table: &Table, path: &[String], reason: &str) -> Option<Fault> {
    let rest =
        reason.strip_prefix("unknown field `").or(reason.strip_prefix("unknown variant `"))?;
    let is_key = reason.starts_with("unknown field");
    let (found, expected) = rest.split_once('`')?;
    let expected: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    // Behind a section with a `kind` the path stops: the key stands somewhere below.
    let parent = path.iter().take_while(|key| *key != found).cloned().collect::<Vec<_>>();
    let path = if is_key { find(table, &parent, found)? } else { path.to_vec() };
    let what = if is_key {
        format!("unknown key `{}`", path.join("."))
    } else {
        format!("`{}` is \"{found}\", which isn't known", path.join("."))
    };
    let nearest = nearest(found, &expected);
    let hint = match nearest {
        Some(name) if is_key => {
            let place = [&path[..path.len() - 1], &[name.to_owned()]].concat().join(".");
            format!("did you mean `{place}`?")
        }
        Some(name) => format!("did you mean \"{name}\"?"),
        None => format!("known are `{}`", expected.join("`, `")),
    };
    Some(Fault { path, reason: format!("{what}; {hint}") })
}

/// The path of a key somewhere below `parent`.
fn find(table: &Table, parent: &[String], key: &str) -> Option<Vec<String>> {
    let mut section = table;
    for name in parent {
        section = step_into(section, name)?;
    }
    if section.contains_key(key) {
        return Some([parent, &[key.to_owned()]].concat());
    }
    let below = section.keys().filter(|name| section[*name].is_table());
    below
        .into_iter()
        .find_map(|name| find(table, &[parent, std::slice::from_ref(name)].concat(), key))
}

/// The table `name` of a section, or, as in `rewards[1]`, of a list of them.
fn step_into<'a>(section: &'a Table, name: &str) -> Option<&'a Table> {
    let Some((list, place)) = name.split_once('[') else { return section.get(name)?.as_table() };
    let place: usize = place.strip_suffix(']')?.parse().ok()?;
    section.get(list)?.as_array()?.get(place)?.as_table()
}

fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let score = |name: &str| strsim::jaro_winkler(found, name);
    let best = known.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) > 0.7).then_some(*best)
}

/// The line at which a key is set, as people write TOML: `[section.below]` or `[[list]]`, then `key = value`.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let mut section = String::new();
    let mut lists: HashMap<&str, usize> = HashMap::new();
    let wanted = path.join(".");
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if let Some(header) = line.strip_prefix("[[") {
            let list = header.split(']').next().unwrap_or_default().trim();
            let count = lists.entry(list).or_default();
            section = format!("{list}[{count}]");
            *count += 1;
            if section == wanted {
                return Some(number);
            }
        } else if let Some(header) = line.strip_prefix('[') {
            section = header.split(']').next().unwrap_or_default().trim().to_owned();
            if section == wanted {
                return Some(number);
            }
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim();
            let full = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            let is_below = |rest: &str| rest.starts_with(['.', '[']);
            if wanted.strip_prefix(&full).is_some_and(|rest| rest.is_empty() || is_below(rest)) {
                return Some(number);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use expect_test::{Expect, expect};
    use rein_model::Precision;

    use super::*;

    fn check(text: &str, sets: &[&str], expected: Expect) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("writes");
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let error = load(Some(file.path()), &sets).expect_err("is refused");
        let message = format!("{error:#}");
        expected.assert_eq(&message.replace(&file.path().display().to_string(), "run.toml"));
    }

    #[test]
    fn unknown_keys_name_their_line_and_the_nearest_known_key() {
        let text = "seed = 1\n\n[rl]\nalgorithm = \"ppo\"\nstepz = 3\n";
        check(text, &[], expect!["run.toml:5: unknown key `rl.stepz`; did you mean `rl.steps`?"]);
        let text = "[sft.optimizer]\nlearningrate = 3\n";
        check(
            text,
            &[],
            expect![
                "run.toml:2: unknown key `sft.optimizer.learningrate`; did you mean `sft.optimizer.learning_rate`?"
            ],
        );
        check("sead = 3\n", &[], expect!["run.toml:1: unknown key `sead`; did you mean `seed`?"]);
    }

    #[test]
    fn values_of_the_wrong_kind_name_their_key() {
        check(
            "[sft]\nepochs = \"many\"\n",
            &[],
            expect![[r#"run.toml:2: `sft.epochs`: invalid type: string "many", expected f64"#]],
        );
        check(
            "[data]\nkind = \"helpdeks\"\n",
            &[],
            expect![[
                r#"run.toml:2: `data.kind` is "helpdeks", which isn't known; did you mean "helpdesk"?"#
            ]],
        );
        check("[sft\n", &[], expect!["run.toml:1: unclosed table, expected `]`"]);
    }

    #[test]
    fn settings_from_the_command_line_are_checked_like_the_file() {
        check(
            "",
            &["sft.epoch=3"],
            expect!["--set sft.epoch=3: unknown key `sft.epoch`; did you mean `sft.epochs`?"],
        );
        check("", &["sft.epochs"], expect!["--set sft.epochs: write it as section.key=value"]);
        check(
            "",
            &["rl.micro_batch_rows=24"],
            expect![
                "run.toml with --set: `rl.micro_batch_rows` (24) does not divide the 64 completions of a minibatch"
            ],
        );
        check(
            "",
            &["stages=[\"sft\", \"reword\"]"],
            expect![[
                r#"--set stages=["sft", "reword"]: `stages[1]` is "reword", which isn't known; did you mean "reward"?"#
            ]],
        );
    }

    #[test]
    fn the_default_config_runs() {
        let config = load(None, &["rl.steps=3".to_owned()]).expect("loads");
        assert_eq!(config.rl.steps, 3);
        assert_eq!(config.stages.len(), 5);
    }

    #[test]
    fn all_stages_compute_in_the_precision_of_the_run() {
        let sets = ["training", "rollout", "moments"].map(|it| format!("precision.{it}=bf16"));
        let config = load(None, &sets).expect("loads");
        assert_eq!(config.sft.precision, Precision::Bf16);
        assert_eq!(config.reward.precision, Precision::Bf16);
        assert_eq!(config.rl.precision, config.precision);
        for optimizer in [config.sft.optimizer, config.reward.optimizer, config.rl.optimizer] {
            assert_eq!(optimizer.moments, Precision::Bf16);
        }
        assert_eq!(config.precision.frozen, Precision::F32, "never unless it is asked for");
        check(
            "[precision]\ntrainin = \"bf16\"\n",
            &[],
            expect![
                "run.toml:2: unknown key `precision.trainin`; did you mean `precision.training`?"
            ],
        );
    }

    #[test]
    fn a_saved_config_is_the_same_config() {
        let config = load(None, &[]).expect("loads");
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(toml::to_string(&config).expect("writes").as_bytes()).expect("writes");
        assert_eq!(load_saved(file.path()).expect("loads"), config);
    }

    /// The names of all keys of a config, without their sections.
    fn keys(table: &Table) -> Vec<String> {
        let below = |value: &Value| value.as_table().map(keys).unwrap_or_default();
        table.iter().flat_map(|(key, value)| [vec![key.clone()], below(value)].concat()).collect()
    }

    #[test]
    fn an_algorithm_says_what_is_left_out() {
        let sets = ["rl.algorithm=dr_grpo", "rl.samples_per_prompt=4"].map(str::to_owned);
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(b"[rl]\nprompts_per_step = 16\n").expect("writes");
        let rl = load(Some(file.path()), &sets).expect("loads").rl;
        let whole = Algorithm::DrGrpo.config();
        assert_eq!((rl.prompts_per_step, rl.samples_per_prompt), (16, 4));
        assert_eq!((rl.algorithm, rl.advantage), (whole.algorithm, whole.advantage));
        assert_eq!((rl.loss_mean, rl.kl), (whole.loss_mean, whole.kl));
    }

    #[test]
    fn every_key_is_documented() {
        let guide = include_str!("../../../../docs/config.md");
        let config = load(None, &[]).expect("loads");
        let table: Table =
            toml::to_string(&config).expect("writes").parse().expect("what was written is TOML");
        for key in keys(&table) {
            let is_there = [".", "`", "["].iter().any(|begin| {
                guide.contains(&format!("{begin}{key}`"))
                    || guide.contains(&format!("{begin}{key}]"))
            });
            assert!(is_there, "docs/config.md says nothing of `{key}`");
        }
    }
}

use std::path::Path;
use std::time::Duration;

use rein_data::example::Completion;
use rein_data::jsonl;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::process::{Bounds, ask};
use super::reply::{ask_all, line};
use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// A program that judges completions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandConfig {
    /// The program and its arguments. No shell reads them.
    pub command: Vec<String>,
    /// Columns of the prompts that it is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Seconds that it may take for all completions of a call.
    pub timeout_secs: f64,
    /// Bytes that it may write.
    pub max_output_bytes: usize,
}

/// Asks a program. It is started anew for each call, reads a line of JSON for each completion (`prompt`,
/// `completion`, `finished`, `columns`) and writes a line for each: a number, or an object with a `score` and
/// perhaps a `reason`.
#[derive(Clone, Debug)]
pub struct Command(CommandConfig);

impl Default for CommandConfig {
    fn default() -> Self {
        let (command, columns) = (Vec::new(), Vec::new());
        Self { command, columns, timeout_secs: 60.0, max_output_bytes: 1 << 20 }
    }
}

impl CommandConfig {
    /// The rule.
    ///
    /// # Errors
    /// No program, or one that isn't where its path says; no time, or no output.
    pub fn build(&self) -> Result<Command, Refusal> {
        let Some(program) = self.command.first().filter(|it| !it.is_empty()) else {
            return Err(Refusal::new("command", "is missing, as in [\"python3\", \"judge.py\"]"));
        };
        if Path::new(program).components().count() > 1 && !Path::new(program).exists() {
            return Err(Refusal::new("command", format!("names {program}, which isn't there")));
        }
        seconds("timeout_secs", self.timeout_secs)?;
        if self.max_output_bytes == 0 {
            return Err(Refusal::new("max_output_bytes", "must be above 0"));
        }
        Ok(Command(self.clone()))
    }
}

/// A time of a config.
pub(super) fn seconds(key: &'static str, secs: f64) -> Result<Duration, Refusal> {
    let day = 86_400.0;
    if !(secs > 0.0 && secs <= day) {
        return Err(Refusal::new(key, "must be above 0, and no more than a day"));
    }
    Ok(Duration::from_secs_f64(secs))
}

impl Command {
    fn ask(&self, questions: &[Value]) -> Result<Vec<Result<Verdict, Fault>>, Fault> {
        let CommandConfig { command, timeout_secs, max_output_bytes, .. } = &self.0;
        let input: String = questions.iter().map(jsonl::line).collect();
        let time = Duration::from_secs_f64(*timeout_secs);
        let output = ask(command, input.into_bytes(), Bounds { time, n_bytes: *max_output_bytes })?;
        let output = String::from_utf8(output)
            .map_err(|_| Fault::Garbage("what it wrote isn't UTF-8".into()))?;
        Ok(output.lines().filter(|it| !it.trim().is_empty()).map(line).collect())
    }
}

impl Rule for Command {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        self.judge_all(std::slice::from_ref(completion)).remove(0)
    }

    fn judge_all(&self, completions: &[Completion]) -> Vec<Result<Verdict, Fault>> {
        ask_all(completions, &self.0.columns, |questions| self.ask(questions))
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    /// What a shell's script gives to three completions.
    fn run(script: &str, change: impl FnOnce(&mut CommandConfig)) -> Vec<Result<Verdict, Fault>> {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let mut config = CommandConfig { command, ..CommandConfig::default() };
        change(&mut config);
        let completion = |text: &str| {
            let Value::Object(columns) = json!({ "answer": 7 }) else { unreachable!("is one") };
            Completion { text: text.into(), columns: columns.into(), ..Completion::default() }
        };
        config.build().expect("is a rule").judge_all(&["a", "b\n", "c"].map(completion))
    }

    fn fault(script: &str, change: impl FnOnce(&mut CommandConfig)) -> String {
        let judged = run(script, change);
        assert!(judged.iter().all(Result::is_err) && judged.len() == 3, "{judged:?}");
        judged[0].clone().expect_err("is a fault").to_string()
    }

    #[test]
    fn a_program_gives_a_line_to_each_line() {
        let script = r#"n=0; while read -r row; do n=$((n+1)); echo "{\"score\": $n.5, \"reason\": \"row $n\"}"; done"#;
        let judged: Vec<Verdict> =
            run(script, |_| ()).into_iter().map(|it| it.expect("judges")).collect();
        let want = |score, reason: &str| Verdict::new(score, reason);
        assert_eq!(judged, [want(1.5, "row 1"), want(2.5, "row 2"), want(3.5, "row 3")]);
        // What it reads: a line for each, and those columns that it was promised.
        let judged =
            run("grep -c '\"answer\":7' | sed 'p;p'", |it| it.columns = vec!["answer".into()]);
        assert!(judged.iter().all(|it| it.as_ref().expect("judges").score == 3.0), "{judged:?}");
        let judged = run("cat", |it| it.columns = vec!["truth".into()]);
        assert_eq!(judged[2], Err(Fault::NoColumn("truth".into())));
    }

    #[test]
    fn programs_that_fail_are_told_of() {
        assert_eq!(
            fault("echo 1; echo oh no >&2; exit 3", |_| ()),
            "the program ended with exit status: 3; it said: oh no"
        );
        assert_eq!(fault("echo 1; echo 2", |_| ()), "2 scores came for 3 completions");
        assert_eq!(fault("exit 0", |_| ()), "0 scores came for 3 completions");
        let garbage = fault("echo good; echo bad; echo ugly", |_| ());
        assert!(garbage.starts_with("\"good\" is no score; a number or "), "{garbage}");
        assert_eq!(fault("printf '\\377\\n1\\n2\\n'", |_| ()), "what it wrote isn't UTF-8");
        let nan = run("echo 1; echo nan; echo '{\"score\": null}'", |_| ());
        assert_eq!(nan[0], Ok(Verdict::from(1.0)));
        assert!(matches!(nan[1], Err(Fault::NotFinite(it)) if it.is_nan()));
        assert!(matches!(nan[2], Err(Fault::Garbage(_))));
        let endless = fault("yes 1", |it| it.max_output_bytes = 10_000);
        assert_eq!(endless, "the answer has more than 10000 bytes; raise `max_output_bytes`");
        let missing = |it: &mut CommandConfig| it.command = vec!["no-such-program".into()];
        assert!(fault("", missing).starts_with("`no-such-program` can't be started: "));
    }

    #[test]
    fn programs_that_hang_are_ended_with_all_that_they_started() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let alive = folder.path().join("alive");
        let script = format!("(sleep 1; touch {}) & sleep 100", alive.display());
        let start = Instant::now();
        let told = fault(&script, |it| it.timeout_secs = 0.2);
        assert_eq!(told, "no answer within 0.2 s");
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!alive.exists(), "what the program had started went on");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let refusal = |config: CommandConfig| config.build().expect_err("is refused").to_string();
        let none = CommandConfig::default();
        assert!(refusal(none.clone()).starts_with("`command` is missing"));
        let gone = CommandConfig { command: vec!["./no/judge".into()], ..none.clone() };
        assert_eq!(refusal(gone), "`command` names ./no/judge, which isn't there");
        let some = CommandConfig { command: vec!["cat".into()], ..none };
        let never = CommandConfig { timeout_secs: f64::NAN, ..some };
        assert!(refusal(never).starts_with("`timeout_secs` must be above 0"));
    }
}

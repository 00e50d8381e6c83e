use std::collections::BTreeMap;

use rein_data::example::{Body, Content};
use serde_json::{Map, Value, json};

use super::*;

fn text(text: impl Into<String>) -> Content {
    Content::Text(text.into())
}

fn example(body: Body, extra: Value) -> Example {
    let extra: Map<String, Value> = serde_json::from_value(extra).expect("an object");
    Example { body, tools: None, template_arguments: Map::new(), extra }
}

fn pair_with(prompt: &str, chosen: &str, rejected: &str, extra: Value) -> Example {
    let (prompt, chosen, rejected) = (text(prompt), text(chosen), text(rejected));
    let body =
        Body::Preference { prompt, chosen, rejected, margin: None, chosen_probability: None };
    example(body, extra)
}

fn pair(prompt: &str, chosen: &str, rejected: &str) -> Example {
    pair_with(prompt, chosen, rejected, json!({}))
}

fn soft(prompt: &str, chosen: &str, rejected: &str, probability: f32) -> Example {
    let mut row = pair(prompt, chosen, rejected);
    if let Body::Preference { chosen_probability, .. } = &mut row.body {
        *chosen_probability = Some(probability);
    }
    row
}

fn label(prompt: &str, completion: &str, label: bool) -> Example {
    let (prompt, completion) = (text(prompt), text(completion));
    example(Body::UnpairedPreference { prompt, completion, label }, json!({}))
}

fn graded(completion: &str, score: f32) -> Example {
    let completion = text(completion);
    example(Body::Scored { prompt: text("p"), completion, score }, json!({}))
}

fn ranking(completions: &[&str], ranks: &[u32]) -> Example {
    let completions = completions.iter().map(|it| text(*it)).collect();
    example(Body::Ranking { prompt: text("p"), completions, ranks: ranks.to_vec() }, json!({}))
}

/// Rows that are set aside, the rules and the reasons.
fn aside(rows: &[Example]) -> Vec<(usize, Rule, String)> {
    let report = Cleaning::default().run(rows);
    report.set_aside.into_iter().map(|it| (it.row, it.rule, it.reason)).collect()
}

fn flags(rows: &[Example]) -> Vec<(usize, Rule, String)> {
    let report = Cleaning::default().run(rows);
    report.flagged.into_iter().map(|it| (it.row, it.rule, it.reason)).collect()
}

#[test]
fn rows_that_say_nothing_are_set_aside() {
    let rows = [
        pair("p", "ﬁne  day", "fine\nday"),
        pair("p", "fine day", "fine days"),
        pair("p", " \u{3000}", "a"),
        ranking(&["a", "a ", "a"], &[1, 2, 3]),
        ranking(&["a", "a", "b"], &[1, 2, 3]),
        example(Body::PromptOnly(text(" ")), json!({})),
        example(Body::PromptCompletion { prompt: text(""), completion: text("a") }, json!({})),
        label("", "a", true),
    ];
    let want = [
        (0, Rule::Identical, "all responses are “fine day”".to_owned()),
        (2, Rule::Empty, "chosen: there is no text".to_owned()),
        (3, Rule::Identical, "all responses are “a”".to_owned()),
        (5, Rule::Empty, "there is no text".to_owned()),
    ];
    assert_eq!(aside(&rows), want);
}

#[test]
fn what_was_said_before_is_set_aside_whichever_side_it_stands_on() {
    let by = |name: &str| pair_with("p", "a", "b", json!({ "annotator": name }));
    let rows = [
        pair("p", "a", "b"),
        pair(" p ", "ａ", "b"),
        soft("p", "b", "a", 0.0),
        soft("p", "a", "b", 0.9),
        by("x"),
        by("y"),
        by("x"),
        pair("p", "a", "c"),
        pair("q", "a", "b"),
        label("p", "a", true),
        label("p", "a", true),
        label("p", "a", false),
        ranking(&["a", "b", "c"], &[1, 5, 5]),
        ranking(&["c", "a", "b"], &[2, 1, 2]),
        graded("a", 2.0),
        graded("a", 2.0),
        graded("a", 2.5),
    ];
    let repeats = [(1, 0), (2, 0), (6, 4), (10, 9), (13, 12), (15, 14)];
    let want = repeats.map(|(row, first)| (row, Rule::Duplicate, format!("repeats row {first}")));
    assert_eq!(aside(&rows), want);
}

#[test]
fn another_context_is_another_judgement() {
    let plain = pair("p", "a", "b");
    let tools = Example { tools: Some(json!([{"name": "f"}])), ..plain.clone() };
    let mut margin = plain.clone();
    if let Body::Preference { margin, .. } = &mut margin.body {
        *margin = Some(2.0);
    }
    let prompt_and_first = pair("p a", "", "b");
    assert_eq!(aside(&[plain, tools, margin]), []);
    assert_eq!(aside(&[prompt_and_first])[0].1, Rule::Empty);
}

/// Words that are told apart by their numbers; those in `changed` are others.
fn words(n_words: usize, changed: &[usize]) -> String {
    let word = |it: usize| format!("w{it}{}", if changed.contains(&it) { "x" } else { "" });
    (0..n_words).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn almost_the_same_words_are_the_same_unless_something_else_is_said() {
    let [plain, changed, twice] = [&[][..], &[30], &[20, 40]].map(|it| words(64, it));
    let by = |name: &str, text: &str| pair_with("p", text, "No.", json!({ "annotator": name }));
    let rows = [
        pair("p", &plain, "No."),
        pair("p", &changed, "No."),
        pair("p", "No.", &changed),
        pair("p", &changed, "Yes."),
        pair("p", &twice, "No."),
        soft("p", &changed, "No.", 0.7),
        by("x", &plain),
        by("y", &changed),
        label("p", &plain, true),
        label("p", &changed, true),
        label("p", &changed, false),
        label("q", &changed, true),
    ];
    // Of 60 shingles, 5 hold the changed word: 55 / 65 = 0.846. Two words apart leave 50 / 70 = 0.714.
    let is_like = |row| format!("is like row {row}: similarity 0.846");
    let want = [(1, 0), (9, 8)].map(|(row, like)| (row, Rule::NearDuplicate, is_like(like)));
    assert_eq!(aside(&rows), want);
}

#[test]
fn other_responses_to_one_long_prompt_are_another_judgement() {
    let prompt = words(400, &[]);
    let answer = |word: &str| format!("{word} ").repeat(8);
    let rows = [
        pair(&prompt, &answer("a"), &answer("b")),
        pair(&prompt, &answer("a"), &answer("c")),
        pair(&prompt, "Yes.", "No."),
        pair(&prompt, "Yes.", "Maybe."),
        pair(&prompt, &(answer("a") + "z"), &answer("b")),
    ];
    assert_eq!(aside(&rows).iter().map(|it| it.0).collect::<Vec<_>>(), [4]);
}

#[test]
fn texts_without_spaces_are_compared_by_characters() {
    let plain: String = ('\u{4e00}'..).take(64).collect();
    let changed = plain.replacen('\u{4e1e}', "好", 1);
    let [short, other] = ["一二三四", "一二三五"];
    let rows = [
        label("p", &plain, true),
        label("p", &changed, true),
        label("p", short, true),
        label("p", other, true),
    ];
    assert_eq!(aside(&rows), [(1, Rule::NearDuplicate, "is like row 0: similarity 0.846".into())]);
}

#[test]
fn responses_that_betray_a_model_and_errors_are_set_aside() {
    let leak = "Hello, I'm ChatGPT.";
    let rows = [
        pair("p", "fine", leak),
        pair(leak, "fine", "good"),
        example(Body::PromptCompletion { prompt: text("p"), completion: text(leak) }, json!({})),
        pair("p", "Rate limit exceeded", "good"),
        pair("Rate limit exceeded", "good", "fine"),
        label("p", "I am HELPBOT, at your service.", true),
    ];
    let leaks = |name: &str| format!("{name}: “I'm ChatGPT”");
    let mut want = vec![
        (0, Rule::Identity, leaks("rejected")),
        (2, Rule::Identity, leaks("completion")),
        (3, Rule::ErrorText, "chosen: “Rate limit exceeded”".into()),
    ];
    assert_eq!(aside(&rows), want);
    let phrases = vec![String::new(), "I am HelpBot".into()];
    let report = Cleaning { phrases, ..Cleaning::default() }.run(&rows);
    want.push((5, Rule::Identity, "completion: “i am helpbot”".into()));
    let found = report.set_aside.into_iter().map(|it| (it.row, it.rule, it.reason));
    assert_eq!(found.collect::<Vec<_>>(), want);
}

#[test]
fn a_cut_response_that_is_the_better_one_is_set_aside() {
    let cut = |column: &str| json!({ column: false });
    let lost = Example { extra: cut_columns("rejected_finished"), ..soft("p", "e", "f", 0.2) };
    let rows = [
        pair_with("p", "a", "b", cut("chosen_finished")),
        pair_with("p", "c", "d", cut("rejected_finished")),
        lost,
        pair_with("p", "g", "h", json!({"chosen_finished": true, "rejected_finished": "false"})),
        Example { extra: cut_columns("chosen_finished"), ..label("p", "i", true) },
    ];
    let reason = |side: &str| format!("{side}: it was cut (`{side}_finished` is false)");
    let unfinished = |row, side| (row, Rule::Unfinished, reason(side));
    assert_eq!(aside(&rows), [unfinished(0, "chosen"), unfinished(2, "rejected")]);
    assert_eq!(flags(&rows), [unfinished(1, "rejected")]);
    let lenient = Cleaning { unfinished: Action::Off, ..Cleaning::default() };
    assert_eq!(lenient.run(&rows).n_set_aside, BTreeMap::new());
}

fn cut_columns(column: &str) -> Map<String, Value> {
    [(column.to_owned(), Value::Bool(false))].into_iter().collect()
}

#[test]
fn rows_that_contradict_each_other_are_kept_and_told() {
    let rows = [
        pair("p", "a", "b"),
        pair("p", "b", "a "),
        soft("p", "b", "a", 0.5),
        soft("p", "b", "a", 0.4),
        label("p", "a", true),
        label("p", "a", false),
        graded("a", 2.0),
        graded("a", 3.0),
        ranking(&["a", "b", "c"], &[1, 2, 3]),
        ranking(&["c", "b", "a"], &[1, 1, 2]),
        pair("q", "b", "a"),
    ];
    let report = Cleaning::default().run(&rows);
    assert_eq!(report.contradictions, [vec![0, 1, 3], vec![4, 5], vec![6, 7], vec![8, 9]]);
    let others = [(0, 1), (1, 0), (3, 1), (4, 5), (5, 4), (6, 7), (7, 6), (8, 9), (9, 8)];
    let want = others
        .map(|(row, other)| (row, Rule::Contradiction, format!("row {other} says otherwise")));
    assert_eq!(flags(&rows), want);
    assert_eq!(report.n_flagged, BTreeMap::from([(Rule::Contradiction, 9)]));
    let strict = Cleaning { contradiction: Action::SetAside, ..Cleaning::default() };
    assert_eq!(strict.run(&rows).kept, [2, 10]);
}

#[test]
fn personal_data_is_told_without_being_repeated() {
    let rows = [
        pair("I am jane@uni-ulm.de, 13812345678", "Write to bob@uni-ulm.de", "93.184.216.34"),
        pair("Call 1-800-273-8255.", "In 1999.", "No."),
    ];
    let reason = "prompt: e-mail address at character 5 (j***@…); prompt: phone number at character 22 (1***); \
        chosen: e-mail address at character 9 (b***@…); 1 more";
    assert_eq!(flags(&rows), [(0, Rule::PersonalData, reason.into())]);
    let strict = Cleaning { personal_data: Action::SetAside, ..Cleaning::default() };
    assert_eq!(strict.run(&rows).kept, [1]);
}

#[test]
fn rows_without_a_verdict_are_held_against_the_rules_for_texts_only() {
    let mail = "Write to jane@uni-ulm.de";
    let completion = |completion: &str| {
        let (prompt, completion) = (text("p"), text(completion));
        example(Body::PromptCompletion { prompt, completion }, json!({}))
    };
    let rows = [
        example(Body::PromptOnly(text(mail)), json!({})),
        example(Body::LanguageModeling(text(mail)), json!({})),
        completion("fine"),
        completion("fine"),
        completion("Rate limit exceeded"),
        completion(mail),
    ];
    let rules = |found: Vec<(usize, Rule, String)>| -> Vec<(usize, Rule)> {
        found.into_iter().map(|(row, rule, _)| (row, rule)).collect()
    };
    assert_eq!(rules(aside(&rows)), [(4, Rule::ErrorText)]);
    assert_eq!(rules(flags(&rows)), [0, 1, 5].map(|row| (row, Rule::PersonalData)));
}

#[test]
fn messages_are_judged_by_their_words() {
    let said = |role: &str, words: Value| json!({ "role": role, "content": words });
    let conversation = |chosen: Value, rejected: Value| {
        let body = Body::Preference {
            prompt: Content::Messages(vec![said("user", json!("Where is it?"))]),
            chosen: Content::Messages(vec![chosen]),
            rejected: Content::Messages(vec![rejected]),
            margin: None,
            chosen_probability: None,
        };
        example(body, json!({}))
    };
    let answer = |words: &str| said("assistant", json!(words));
    let call = |name: &str| json!({"role": "assistant", "content": null, "tool_calls": [{"function": {"name": name}}]});
    let rows = [
        conversation(answer("On its way."), answer("No idea.")),
        conversation(answer("On its  way."), answer("No idea.")),
        pair("Where is it?", "On its way.", "No idea."),
        conversation(call("track"), call("wait")),
        conversation(said("assistant", Value::Null), answer("No idea.")),
    ];
    let found: Vec<(usize, Rule)> = aside(&rows).into_iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(found, [(1, Rule::Duplicate), (2, Rule::Duplicate), (4, Rule::Empty)]);
}

#[test]
fn settings_are_read_and_checked() {
    let read = |json: &str| serde_json::from_str::<Cleaning>(json);
    let cleaning = read(r#"{"identity": "flag", "near_duplicate": "off"}"#).expect("reads");
    let want =
        Cleaning { identity: Action::Flag, near_duplicate: Action::Off, ..Cleaning::default() };
    assert_eq!(cleaning, want);
    assert!(read(r#"{"identiti": "flag"}"#).is_err());
    assert!(want.check().is_ok());
    let error = Cleaning { similarity: f64::NAN, ..want }.check().expect_err("is refused");
    assert_eq!(error.to_string(), "`similarity` is NaN; give a share from 0.7 to 1, such as 0.8");
}

#[test]
fn a_report_of_nothing_is_empty_and_each_can_be_written() {
    let report = Cleaning::default().run(&[]);
    assert_eq!(report, Report::default());
    let report = Cleaning::default().run(&[pair("p", "a", "a")]);
    let json = serde_json::to_value(&report).expect("is written");
    assert_eq!(json["n_set_aside"], json!({"identical": 1}));
    assert_eq!(json["set_aside"][0]["rule"], json!(Rule::Identical.name()));
}

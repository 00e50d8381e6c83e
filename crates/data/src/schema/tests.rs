use serde_json::json;

use super::*;
use crate::example::{Body, Content, Example};

fn columns(row: Value) -> Map<String, Value> {
    let Value::Object(columns) = row else { panic!("a row is an object") };
    columns
}

/// A row of the schema that its columns show.
fn convert(row: Value) -> (Schema, Example) {
    let row = columns(row);
    let schema = Schema::recognise(&row).expect("is known");
    (schema, schema.example(row).expect("converts").expect("says something"))
}

fn text(text: &str) -> Content {
    Content::Text(text.to_owned())
}

fn messages(messages: Value) -> Content {
    let Value::Array(messages) = messages else { panic!("a list") };
    Content::Messages(messages)
}

fn user(content: &str) -> Value {
    json!({ "role": "user", "content": content })
}

fn assistant(content: &str) -> Value {
    json!({ "role": "assistant", "content": content })
}

const SKY: &str = "The sky is";

fn check(row: Value, schema: Schema, body: Body) {
    let (found, example) = convert(row);
    assert_eq!((found, example.body), (schema, body));
}

/// The rows of TRL's page on dataset formats.
#[test]
fn rows_of_one_text_are_recognised_as_texts_and_as_messages() {
    check(
        json!({"text": "The sky is blue."}),
        Schema::LanguageModeling,
        Body::LanguageModeling(text("The sky is blue.")),
    );
    let turns = json!([user("What color is the sky?"), assistant("It is blue.")]);
    check(
        json!({"messages": turns}),
        Schema::LanguageModeling,
        Body::LanguageModeling(messages(turns.clone())),
    );
    check(json!({"prompt": SKY}), Schema::PromptOnly, Body::PromptOnly(text(SKY)));
}

#[test]
fn rows_of_several_texts_are_recognised_as_texts_and_as_messages() {
    let sky = SKY;
    let [asked, blue, green] =
        [user("Color?"), assistant("Blue."), assistant("Green.")].map(|it| json!([it]));
    let [m_asked, m_blue, m_green] = [&asked, &blue, &green].map(|it| messages(it.clone()));
    check(json!({"prompt": asked}), Schema::PromptOnly, Body::PromptOnly(m_asked.clone()));
    check(
        json!({"prompt": sky, "completion": " blue."}),
        Schema::PromptCompletion,
        Body::PromptCompletion { prompt: text(sky), completion: text(" blue.") },
    );
    check(
        json!({"prompt": asked, "completion": blue}),
        Schema::PromptCompletion,
        Body::PromptCompletion { prompt: m_asked.clone(), completion: m_blue.clone() },
    );
    let texts = Body::Preference {
        prompt: text(sky),
        chosen: text(" blue."),
        rejected: text(" green."),
        margin: None,
        chosen_probability: None,
    };
    let row = json!({"prompt": sky, "chosen": " blue.", "rejected": " green."});
    check(row, Schema::Preference, texts.clone());
    let row = json!({"chosen": "The sky is blue.", "rejected": "The sky is green."});
    check(row, Schema::ImplicitPreference, texts);
    let both = |margin| Body::Preference {
        prompt: m_asked.clone(),
        chosen: m_blue.clone(),
        rejected: m_green.clone(),
        margin,
        chosen_probability: None,
    };
    let row = json!({"prompt": asked, "chosen": blue, "rejected": green, "margin": 0.5});
    check(row, Schema::Preference, both(Some(0.5)));
    // The prompt stands in both conversations, and besides as a text, which doesn't count.
    let row = json!({"prompt": "Color?", "chosen": [asked[0], blue[0]], "rejected": [asked[0], green[0]]});
    check(row, Schema::ImplicitPreference, both(None));
    check(
        json!({"prompt": sky, "completion": " blue.", "label": true}),
        Schema::UnpairedPreference,
        Body::UnpairedPreference { prompt: text(sky), completion: text(" blue."), label: true },
    );
    check(
        json!({"prompt": asked, "completion": green, "label": 0}),
        Schema::UnpairedPreference,
        Body::UnpairedPreference {
            prompt: m_asked.clone(),
            completion: m_green.clone(),
            label: false,
        },
    );
}

#[test]
fn judgements_come_as_pairs_labels_rankings_and_grades() {
    let row = json!({"prompt": "p", "chosen": "a", "rejected": "b", "chosen_probability": "0.75", "weight": 2});
    let (_, example) = convert(row);
    let Body::Preference { chosen_probability, .. } = example.body else { panic!("a pair") };
    assert_eq!((chosen_probability, example.weight()), (Some(0.75), Some(2.0)));
    let ranked = |completions: &[&str], ranks: &[u32]| Body::Ranking {
        prompt: text("p"),
        completions: completions.iter().map(|it| text(it)).collect(),
        ranks: ranks.to_vec(),
    };
    let row = json!({"prompt": "p", "completions": ["a", "b", "c"], "ranks": [2, 1, 2]});
    check(row, Schema::Ranking, ranked(&["a", "b", "c"], &[2, 1, 2]));
    let row =
        json!({"prompt": "p", "chosen": ["a"], "rejected": ["b", "c", "d"], "subset": "Math"});
    check(row, Schema::BestOf, ranked(&["a", "b", "c", "d"], &[1, 2, 2, 2]));
    let scored = Body::Scored { prompt: text(""), completion: text("a"), score: 3.5 };
    check(json!({"completion": "a", "score": "3.5"}), Schema::Scored, scored);
}

#[test]
fn dialects_become_types_of_trl() {
    let (schema, example) = convert(json!({"instruction": "Add.", "input": "1 2", "output": "3"}));
    assert_eq!(schema, Schema::Alpaca);
    let prompt = "Below is an instruction that describes a task, paired with an input that provides \
                  further context. Write a response that appropriately completes the request.\n\n\
                  ### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:";
    let body = Body::PromptCompletion { prompt: text(prompt), completion: text("3") };
    assert_eq!(example.body, body);
    let (_, example) = convert(json!({"instruction": "Sing.", "input": "", "output": "La."}));
    let prompt = "Below is an instruction that describes a task. Write a response that appropriately \
                  completes the request.\n\n### Instruction:\nSing.\n\n### Response:";
    let body = Body::PromptCompletion { prompt: text(prompt), completion: text("La.") };
    assert_eq!(example.body, body);

    let turns = json!([{"from": "system", "value": "s"}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]);
    let (schema, example) = convert(json!({"id": "x", "conversations": turns}));
    let said = json!([{"role": "system", "content": "s"}, user("Hi"), assistant("Ho")]);
    assert_eq!((schema, example.body), (Schema::ShareGpt, Body::LanguageModeling(messages(said))));
    assert_eq!(example.extra, columns(json!({"id": "x"})));

    let dialogue = |reply: &str| {
        format!("\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: bye\n\nAssistant:{reply}")
    };
    let row = json!({"chosen": dialogue(" good bye"), "rejected": dialogue(" go away")});
    let (schema, example) = convert(row);
    let body = Body::Preference {
        prompt: text(&dialogue("")),
        chosen: text(" good bye"),
        rejected: text(" go away"),
        margin: None,
        chosen_probability: None,
    };
    assert_eq!((schema, example.body), (Schema::Hh, body));
    let same = columns(json!({"chosen": dialogue("a"), "rejected": dialogue("a")}));
    assert_eq!(Schema::Hh.example(same), Ok(None));
}

#[test]
fn other_columns_are_kept_and_null_members_of_messages_are_not() {
    let turn =
        json!({"role": "assistant", "content": null, "tool_calls": [{"name": "f"}], "name": null});
    let (_, example) = convert(json!({
        "messages": [user("q"), turn], "tools": "[{\"name\": \"f\"}]", "chat_template_kwargs": {"think": true},
        "source": "x", "score": 3,
    }));
    let kept = json!({"role": "assistant", "content": null, "tool_calls": [{"name": "f"}]});
    assert_eq!(example.body, Body::LanguageModeling(messages(json!([user("q"), kept]))));
    assert_eq!(example.tools, Some(json!([{"name": "f"}])));
    assert_eq!(example.template_arguments, columns(json!({"think": true})));
    assert_eq!(example.extra, columns(json!({"source": "x", "score": 3})));
    let (_, example) =
        convert(json!({"messages": [user("q")], "tools": [], "chat_template_kwargs": null}));
    assert_eq!((example.tools, example.template_arguments), (None, Map::new()));
}

#[test]
fn rows_that_do_not_fit_are_told() {
    for (schema, row, reason) in [
        (
            "prompt-completion",
            json!({"prompt": "a", "answer": "b"}),
            "no column `completion`; found `prompt`, `answer`",
        ),
        ("prompt-completion", json!({"prompt": "a", "completion": null}), "`completion` is null"),
        (
            "prompt-completion",
            json!({"prompt": "a", "completion": [user("b")]}),
            "`prompt`, `completion` must be all texts or all messages",
        ),
        (
            "prompt-only",
            json!({"prompt": 3}),
            "`prompt` is a number; it must be a text or a list of messages",
        ),
        ("language-modeling", json!({"messages": []}), "`messages` holds no messages"),
        ("language-modeling", json!({"messages": null, "a": 1}), "`messages` is null"),
        (
            "language-modeling",
            json!({"messages": ["a"]}),
            "`messages`, message 1 is a text; it must be an object",
        ),
        (
            "language-modeling",
            json!({"messages": [{"content": "a"}]}),
            "`messages`, message 1 has no `role`; found `content`",
        ),
        (
            "language-modeling",
            json!({"prompt": "a"}),
            "no column `text` or `messages`; found `prompt`",
        ),
        (
            "sharegpt",
            json!({"conversations": [{"from": "alien", "value": "a"}]}),
            "`conversations`, message 1 has no `role`; found `from`, `value`",
        ),
        (
            "unpaired-preference",
            json!({"completion": "a", "label": "maybe"}),
            "`label` is maybe; it must be true or false",
        ),
        (
            "preference",
            json!({"prompt": "a", "chosen": "b", "rejected": "c", "margin": "x"}),
            "`margin` is \"x\"; it must be a finite number",
        ),
        (
            "prompt-only",
            json!({"prompt": "a", "tools": "{"}),
            "`tools`: not JSON: EOF while parsing an object; write one whole object on each line",
        ),
    ] {
        refused(schema, row, reason);
    }
}

fn refused(schema: &str, row: Value, reason: &str) {
    let schema: Schema = schema.parse().expect("is known");
    assert_eq!(schema.example(columns(row)).expect_err("is refused"), reason);
}

#[test]
fn judgements_that_do_not_fit_are_told() {
    for (schema, row, reason) in [
        (
            "preference",
            json!({"prompt": "a", "chosen": "b", "rejected": "c", "chosen_probability": 1.5}),
            "`chosen_probability` is 1.5; it must be a number from 0 to 1",
        ),
        (
            "unpaired-preference",
            json!({"completion": "b", "label": 1, "weight": "nan"}),
            "`weight` is \"nan\"; it must be a finite number above 0",
        ),
        (
            "scored",
            json!({"completion": "b", "score": "NaN"}),
            "`score` is \"NaN\"; it must be a finite number",
        ),
        (
            "ranking",
            json!({"prompt": "a", "completions": ["b", "c"], "ranks": [1]}),
            "`completions` holds 2 and `ranks` 1",
        ),
        (
            "ranking",
            json!({"prompt": "a", "completions": ["b", "c"], "ranks": [1, 1.5]}),
            "`ranks` holds 1.5; it must hold whole numbers, of which 1 is the best",
        ),
        (
            "ranking",
            json!({"prompt": "a", "completions": ["b"], "ranks": [1]}),
            "a ranking has 2 to 64 completions; this one has 1",
        ),
    ] {
        refused(schema, row, reason);
    }
}

#[test]
fn schemas_that_there_are_not_are_told() {
    let told = Schema::recognise(&columns(json!({"question": "a", "answer": "b"})))
        .expect_err("is refused");
    assert!(told.starts_with("no schema has only the columns `question`, `answer`; known are `text` or `messages` (language-modeling), "), "{told}");
    let named: Result<Schema, String> = "dpo".parse();
    assert!(named.is_err_and(|told| {
        told.starts_with("no schema is called `dpo`; there are `language-modeling`, ")
    }));
}

#[test]
fn a_row_of_another_schema_names_file_and_line() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"text\":\"a\"}\n{\"prompt\":\"c\",\"completion\":\"d\"}\n").expect("writes");
    let told: Vec<_> = Examples::open(&path, None)
        .expect("opens")
        .map(|it| it.map_err(|error| error.to_string()))
        .collect();
    assert_eq!(told.len(), 3);
    let error = told[1].as_ref().expect_err("is refused");
    let reason = "rows.jsonl:2: no column `prompt`; found `text` (the schema is prompt-completion)";
    assert!(error.ends_with(reason), "{error}");
    std::fs::write(&path, "\n").expect("writes");
    let error = Examples::open(&path, None).expect_err("is refused").to_string();
    assert!(error.ends_with("rows.jsonl: holds no rows; a run needs one at least"), "{error}");
}

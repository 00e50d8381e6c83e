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

fn check(row: Value, schema: Schema, body: Body) {
    let (found, example) = convert(row);
    assert_eq!((found, example.body), (schema, body));
}

const SKY: &str = "The sky is";

/// The rows of TRL's page on dataset formats.
#[test]
fn texts_of_every_type_of_trl_are_recognised() {
    let whole = Body::LanguageModeling(text("The sky is blue."));
    check(json!({"text": "The sky is blue."}), Schema::LanguageModeling, whole);
    check(json!({"prompt": SKY}), Schema::PromptOnly, Body::PromptOnly(text(SKY)));
    check(
        json!({"prompt": SKY, "completion": " blue."}),
        Schema::PromptCompletion,
        Body::PromptCompletion { prompt: text(SKY), completion: text(" blue.") },
    );
    let [chosen, rejected] = [" blue.", " green."].map(text);
    let pair = Body::Preference { prompt: text(SKY), chosen, rejected, margin: None };
    let row = json!({"prompt": SKY, "chosen": " blue.", "rejected": " green."});
    check(row, Schema::Preference, pair.clone());
    let row = json!({"chosen": "The sky is blue.", "rejected": "The sky is green."});
    check(row, Schema::ImplicitPreference, pair);
    check(
        json!({"prompt": SKY, "completion": " blue.", "label": true}),
        Schema::UnpairedPreference,
        Body::UnpairedPreference { prompt: text(SKY), completion: text(" blue."), label: true },
    );
}

#[test]
fn messages_of_every_type_of_trl_are_recognised() {
    let turns = json!([user("What color is the sky?"), assistant("It is blue.")]);
    let whole = Body::LanguageModeling(messages(turns.clone()));
    check(json!({"messages": turns}), Schema::LanguageModeling, whole);
    let [asked, blue, green] =
        [user("Color?"), assistant("Blue."), assistant("Green.")].map(|it| json!([it]));
    let [m_asked, m_blue, m_green] = [&asked, &blue, &green].map(|it| messages(it.clone()));
    check(json!({"prompt": asked}), Schema::PromptOnly, Body::PromptOnly(m_asked.clone()));
    check(
        json!({"prompt": asked, "completion": blue}),
        Schema::PromptCompletion,
        Body::PromptCompletion { prompt: m_asked.clone(), completion: m_blue.clone() },
    );
    let pair = |margin| Body::Preference {
        prompt: m_asked.clone(),
        chosen: m_blue.clone(),
        rejected: m_green.clone(),
        margin,
    };
    let row = json!({"prompt": asked, "chosen": blue, "rejected": green, "margin": 0.5});
    check(row, Schema::Preference, pair(Some(0.5)));
    // The prompt stands in both conversations, and besides as a text, which doesn't count.
    let both = |answer: &Value| json!([asked[0], answer[0]]);
    let row = json!({"prompt": "Color?", "chosen": both(&blue), "rejected": both(&green)});
    check(row, Schema::ImplicitPreference, pair(None));
    let [prompt, completion] = [m_asked.clone(), m_green.clone()];
    check(
        json!({"prompt": asked, "completion": green, "label": 0}),
        Schema::UnpairedPreference,
        Body::UnpairedPreference { prompt, completion, label: false },
    );
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

fn refusal(schema: &str, row: Value) -> String {
    let schema: Schema = schema.parse().expect("is known");
    schema.example(columns(row)).expect_err("is refused")
}

#[test]
fn columns_that_do_not_fit_are_told() {
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
        assert_eq!(refusal(schema, row), reason);
    }
}

#[test]
fn contents_that_do_not_fit_are_told() {
    for (schema, row, reason) in [
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
    ] {
        assert_eq!(refusal(schema, row), reason);
    }
}

#[test]
fn unknown_schemas_are_told_with_those_that_are_known() {
    let row = columns(json!({"question": "a", "answer": "b"}));
    let told = Schema::recognise(&row).expect_err("is refused");
    let begin = "no schema has only the columns `question`, `answer`; known are `text` or \
                 `messages` (language-modeling), ";
    assert!(told.starts_with(begin), "{told}");
    let told = "dpo".parse::<Schema>().expect_err("is refused");
    assert!(told.starts_with("no schema is called `dpo`; there are `language-modeling`, "));
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

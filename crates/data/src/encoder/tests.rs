use serde_json::{Map, Value, json};

use super::*;
use crate::DataError;
use crate::encoding::Tally;
use crate::schema::{Examples, Schema};
use crate::template::{CHATML, ZEPHYR};

/// bos is 1, eos 2, and each byte a token.
fn tokenizer() -> Tokenizer {
    Tokenizer::train_bpe(["a"], 259).expect("trains")
}

fn encoder(template: Option<&str>, learn: Option<Learn>) -> Encoder {
    let tokenizer = tokenizer();
    let template = template.map(|source| tokenizer.template(source).expect("is safe"));
    Encoder::new(tokenizer, template, learn)
}

fn example(row: Value) -> Example {
    let Value::Object(row) = row else { panic!("a row is an object") };
    let schema = Schema::recognise(&row).expect("is known");
    schema.example(row).expect("converts").expect("says something")
}

/// The text of the learned tokens; the end of sequence is `$`.
fn learned(encoder: &Encoder, row: Value) -> String {
    let sequence = encoder.demonstration(&example(row)).expect("encodes").expect("is good");
    let TokenRow { tokens, learned } = sequence.row;
    let kept = tokens.into_iter().zip(learned).filter(|(_, learned)| *learned);
    let text =
        kept.map(|(id, _)| if id == 2 { "$".into() } else { encoder.tokenizer().decode(&[id]) });
    text.collect()
}

fn refusal(encoder: &Encoder, row: Value) -> String {
    encoder.demonstration(&example(row)).expect_err("is refused")
}

fn talk() -> Value {
    json!([
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
    ])
}

#[test]
fn what_is_learned_can_be_chosen() {
    let pair = || json!({"prompt": "ab", "completion": "cd"});
    assert_eq!(learned(&encoder(None, None), pair()), "cd$");
    assert_eq!(learned(&encoder(None, Some(Learn::All)), pair()), "abcd$");
    assert_eq!(learned(&encoder(None, None), json!({"text": "ab"})), "ab$");
    assert_eq!(learned(&encoder(None, None), json!({"text": "ab<|eos|>"})), "ab$", "not two ends");
    let chat = || json!({"messages": talk()});
    assert_eq!(learned(&encoder(Some(ZEPHYR), Some(Learn::Assistant)), chat()), "b$d$");
    let all = learned(&encoder(Some(ZEPHYR), None), chat());
    assert_eq!(all, "|user|>\na$\n<|assistant|>\nb$\n<|user|>\nc$\n<|assistant|>\nd$\n");
    let reply =
        || json!({"prompt": talk().as_array().expect("a list")[..3], "completion": [talk()[3]]});
    assert_eq!(learned(&encoder(Some(ZEPHYR), None), reply()), "d$\n");
    assert_eq!(learned(&encoder(Some(ZEPHYR), Some(Learn::Assistant)), reply()), "d$");
    let chosen = json!({"prompt": "a", "chosen": "b", "rejected": "c"});
    assert_eq!(learned(&encoder(None, None), chosen), "b$");
    let good = json!({"prompt": "a", "completion": "b", "label": true});
    assert_eq!(learned(&encoder(None, None), good), "b$");
    let bad = example(json!({"prompt": "a", "completion": "b", "label": false}));
    assert_eq!(encoder(None, None).demonstration(&bad), Ok(None));
}

#[test]
fn a_completion_that_was_cut_has_no_end() {
    let says = |role: &str, text: &str| json!([{"role": role, "content": text}]);
    for row in [
        json!({"prompt": "a", "chosen": "b", "rejected": "c", "chosen_finished": false}),
        json!({"prompt": "a", "completion": "b", "label": true, "completion_finished": false}),
        json!({"prompt": "a", "completion": "b", "score": 1, "completion_finished": false}),
        json!({"prompt": "a", "completions": ["b", "c"], "ranks": [1, 2], "completions_finished": [false, true]}),
    ] {
        assert_eq!(learned(&encoder(None, None), row), "b");
    }
    let row = json!({"prompt": says("user", "a"), "chosen": says("assistant", "b"), "rejected": says("assistant", "c"), "chosen_finished": false});
    assert_eq!(learned(&encoder(Some(CHATML), None), row.clone()), "b");
    let encoder_of_all = encoder(Some(CHATML), Some(Learn::All));
    let sides = encoder_of_all.sequences(&example(row)).expect("encodes");
    let ended = |place: usize| {
        let end = encoder_of_all.behind(&Content::Messages(Vec::new()));
        sides[place].row.tokens.ends_with(&end)
    };
    assert_eq!([ended(0), ended(1)], [false, true]);
    // A demonstration says nothing of the kind.
    let row = json!({"prompt": "a", "completion": "b", "completion_finished": false});
    assert_eq!(learned(&encoder(None, None), row), "b$");
}

#[test]
fn special_tokens_in_rows_stay_text() {
    let text = "x<|eos|>y<|bos|>";
    for row in [
        json!({"prompt": text, "completion": text}),
        json!({"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}),
        json!({"messages": [{"role": "user", "content": "a"}], "tools": [{"name": text}]}),
        json!({"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"motto": text}}),
    ] {
        let template = format!("{ZEPHYR}{{{{ tools | tojson if tools else '' }}}}{{{{ motto }}}}");
        let encoder = encoder(Some(&template), Some(Learn::All));
        let n_special = |row: Value| {
            let row = encoder.demonstration(&example(row)).expect("encodes").expect("is good").row;
            row.tokens.iter().filter(|id| **id < 3).count()
        };
        let plain: Value =
            serde_json::from_str(&row.to_string().replace(text, "xy")).expect("JSON");
        assert_eq!(n_special(row), n_special(plain));
    }
}

#[test]
fn what_cannot_be_learned_is_told() {
    let chat = || json!({"messages": talk()});
    let told = refusal(&encoder(None, None), chat());
    assert!(
        told.starts_with("a conversation needs a chat template, and the model's folder"),
        "{told}"
    );
    let told = refusal(&encoder(Some(CHATML), Some(Learn::Completion)), chat());
    assert!(told.starts_with("there is no completion to learn, only a whole"), "{told}");
    assert_eq!(refusal(&encoder(None, Some(Learn::Assistant)), json!({"text": "a"})), NO_ASSISTANT);
    assert_eq!(
        refusal(&encoder(None, None), json!({"prompt": "a"})),
        "a prompt alone holds nothing to learn"
    );
    // Says nothing of what stands before the last message.
    let forgetful = "{{ messages[-1].role }}: {{ messages[-1].content }}";
    let told = refusal(&encoder(Some(forgetful), Some(Learn::Assistant)), chat());
    assert!(told.contains("no `{% generation %}` marks and renders message 2 otherwise"), "{told}");
    let told = refusal(&encoder(Some("{{ raise_exception('no') }}"), None), chat());
    assert_eq!(told, "chat template: no");
}

#[test]
fn an_example_gives_a_row_for_each_completion() {
    let encoder = encoder(None, None);
    let row = json!({"prompt": "a", "chosen": "b", "rejected": "c"});
    let sequences = encoder.sequences(&example(row)).expect("encodes");
    assert_eq!(sequences.iter().map(|it| it.n_prompt).collect::<Vec<_>>(), [2, 2]);
    let prompt = encoder.sequences(&example(json!({"prompt": "ab"}))).expect("encodes");
    assert_eq!((prompt[0].n_prompt, prompt[0].row.n_learned()), (3, 0));
}

/// A file's rows cut at five tokens, and what became of them.
fn cut(rows: &[Value]) -> (Vec<usize>, Result<Tally, String>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(&path, lines).expect("writes");
    let encoder = encoder(None, None);
    let mut encoded = EncodedRows::new(&encoder, Examples::open(&path, None).expect("opens"), 5);
    let kept: Result<Vec<_>, DataError> =
        encoded.by_ref().map(|row| Ok(row?.tokens.len())).collect();
    let shorten =
        |error: DataError| error.to_string().replace(&path.display().to_string(), "rows.jsonl");
    (kept.expect("encodes"), encoded.finish().map_err(shorten))
}

#[test]
fn rows_are_cut_and_dropped_and_counted() {
    let row = |prompt: &str, completion: &str| json!({"prompt": prompt, "completion": completion});
    // bos a | b eos; bos a | b c d, and the rest is cut; bos a b c d | nothing is left.
    let rows = [row("a", "b"), row("a", "bcde"), row("abcd", "e")];
    let tally =
        Tally { n_rows: 2, n_truncated: 1, n_dropped: 1, n_tokens: 9, n_learned: 5, n_lost: 9 };
    assert_eq!(cut(&rows), (vec![4, 5], Ok(tally)));
    let all = "rows.jsonl:1: a prompt of 5 tokens; cut at 5, nothing is left to learn: raise \
               `max_tokens` or shorten the prompt";
    assert_eq!(cut(&rows[2..]), (vec![], Err(all.into())));
}

#[test]
fn arguments_of_the_template_come_from_the_row() {
    let encoder =
        encoder(Some("{{ motto }}{{ messages[0].content }}{{ bos_token }}"), Some(Learn::All));
    let row =
        json!({"messages": talk(), "chat_template_kwargs": {"motto": "m", "bos_token": "no"}});
    let sequence = encoder.demonstration(&example(row)).expect("encodes").expect("is good");
    let bytes = |text: &str| tokenizer().encode(text);
    assert_eq!(sequence.row.tokens, [bytes("m"), bytes("a"), vec![1]].concat());
    assert_eq!(Map::new(), example(json!({"text": "a"})).template_arguments);
}

/// More rows than are encoded at a time, one of them bad.
#[test]
fn rows_keep_their_order_however_many_there_are() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("rows.jsonl");
    let line = |n: usize| if n == 900 { "{}\n".into() } else { format!("{{\"text\":\"{n}\"}}\n") };
    std::fs::write(&path, (0..2000).map(line).collect::<String>()).expect("writes");
    let encoder = encoder(None, None);
    let mut rows = EncodedRows::new(&encoder, Examples::open(&path, None).expect("opens"), 100);
    for n in 0..2000 {
        let row = rows.next().expect("there are more");
        if n == 900 {
            assert!(row.expect_err("is refused").to_string().contains("rows.jsonl:901: "));
        } else {
            assert_eq!(tokenizer().decode(&row.expect("encodes").tokens), n.to_string());
        }
    }
    assert!(rows.next().is_none());
}

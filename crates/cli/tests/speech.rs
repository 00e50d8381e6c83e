//! What depends on text: where a completion stops, what it must not say, conversations. Through the
//! real program, on a golden model that was given a tokenizer.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

#[path = "../../../fixtures/golden.rs"]
mod golden;
mod program;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use golden::{folders, json, numbers};
use program::{Workplace, wait_until};
use rein_data::chat::encode_chat;
use rein_data::template::CHATML;
use rein_data::tokenizer::Tokenizer;
use serde_json::{Value, json};

/// A place with a model in it, and the model's tokenizer.
fn place() -> (Workplace, Tokenizer) {
    let place = Workplace::new();
    let model = folders("models", "config.json")
        .into_iter()
        .find(|it| it.ends_with("llama3_rope"))
        .expect("is there");
    let n_tokens = json(&model.join("config.json"))["vocab_size"].as_u64().expect("a number");
    fs::create_dir(place.path("model")).expect("creates");
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        fs::copy(model.join(name), place.path("model").join(name)).expect("copies");
    }
    let texts = ["Say hello to the world.", "The world says hello to you and to the others."];
    let tokenizer = Tokenizer::train_bpe(texts, n_tokens as usize).expect("trains");
    tokenizer.save(&place.path("model")).expect("saves");
    (place, tokenizer)
}

/// Completes rows; returns the lines, and what was said beside them.
fn generate(place: &Workplace, rows: &[Value], flags: &[&str]) -> (Vec<Value>, String) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    place.write("rows.jsonl", &lines);
    let args = ["generate", "--model", "model", "--input", "rows.jsonl", "--max-new-tokens", "24"];
    let output = place.output(&[&args[..], flags].concat());
    let error = String::from_utf8(output.stderr).expect("is text");
    assert!(output.status.success(), "{flags:?}: {error}");
    let text = String::from_utf8(output.stdout).expect("is text");
    (text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect(), error)
}

fn tokens(line: &Value) -> Vec<u32> {
    numbers(&line["output_ids"]).into_iter().map(|id| id as u32).collect()
}

fn text(line: &Value) -> &str {
    line["text"].as_str().expect("a text")
}

fn prompts() -> Vec<Value> {
    ["Say hello", "The world", "To you"].map(|prompt| json!({ "prompt": prompt })).to_vec()
}

/// A piece of a text that begins after its first few characters, all of them whole.
fn piece(text: &str, n_chars: usize) -> String {
    let chars: Vec<char> = text.chars().skip(4).collect();
    let is_whole = |it: &&[char]| !it.contains(&char::REPLACEMENT_CHARACTER);
    chars.windows(n_chars).find(is_whole).expect("such a piece").iter().collect()
}

#[test]
fn a_completion_ends_where_a_stop_string_begins() {
    let (place, tokenizer) = place();
    let (free, _) = generate(&place, &prompts(), &["--greedy"]);
    for (row, free) in prompts().iter().zip(&free) {
        assert_eq!(text(free), tokenizer.decode(&tokens(free)));
        for n_chars in [1, 3] {
            let stop = piece(text(free), n_chars);
            let (lines, _) =
                generate(&place, std::slice::from_ref(row), &["--greedy", "--stop", &stop]);
            let line = &lines[0];
            let at = text(free).find(&stop).expect("a piece of it");
            assert_eq!(text(line), &text(free)[..at], "{stop:?}");
            assert_eq!(line["finish_reason"], "stop");
            // The tokens go to the one that completed the stop string, and no further.
            let kept = tokens(line);
            assert!(tokens(free).starts_with(&kept));
            assert!(tokenizer.decode(&kept).contains(&stop));
            assert!(!tokenizer.decode(&kept[..kept.len() - 1]).contains(&stop));
        }
        let third = tokens(free)[2].to_string();
        let (lines, _) =
            generate(&place, std::slice::from_ref(row), &["--greedy", "--stop-token", &third]);
        assert_eq!(lines[0]["finish_reason"], "stop");
        assert_eq!(tokens(&lines[0]).last().map(ToString::to_string), Some(third));
    }
}

#[test]
fn what_is_banned_is_not_said() {
    let (place, _) = place();
    let (free, _) = generate(&place, &prompts(), &["--greedy"]);
    let first = &tokens(&free[0])[..2];
    let banned = format!("{},{}", first[0], first[1]);
    let (lines, _) = generate(&place, &prompts(), &["--greedy", "--ban-tokens", &banned]);
    assert_eq!(tokens(&lines[0])[0], first[0]);
    assert!(lines.iter().all(|line| !tokens(line).windows(2).any(|pair| pair == first)));
    for free in &free {
        let ban = piece(text(free), 2);
        let (lines, _) = generate(&place, &prompts(), &["--ban", &ban, "--samples", "4"]);
        assert_eq!(lines.len(), 12);
        assert!(lines.iter().all(|line| !text(line).contains(&ban)), "{ban:?}: {lines:?}");
    }
}

#[test]
fn what_breaks_a_rule_is_sampled_again_and_then_refused() {
    let (place, tokenizer) = place();
    let flags = ["--samples", "6", "--seed", "3", "--batch-size", "5"];
    let (first, quiet) = generate(&place, &prompts(), &flags);
    assert!(!quiet.contains("guards"), "{quiet}");
    let rule = "--require-regex=[a-e] ?[h-z]";
    let matches = |line: &Value| {
        let text: Vec<char> = text(line).chars().collect();
        let follows = |it: &[char]| it.first().is_some_and(|it| ('h'..='z').contains(it));
        (0..text.len()).any(|at| {
            let rest = &text[at + 1..];
            ('a'..='e').contains(&text[at])
                && (follows(rest) || (rest.first() == Some(&' ') && follows(&rest[1..])))
        })
    };
    let n_right = first.iter().filter(|line| matches(line)).count();
    assert!(0 < n_right && n_right < first.len(), "{n_right}: both kinds must be there");
    let (again, said) =
        generate(&place, &prompts(), &[&flags[..], &[rule, "--attempts", "50"]].concat());
    for (line, first) in again.iter().zip(&first) {
        assert!(matches(line) && line["finish_reason"] != "guard");
        assert!(!matches(first) || line == first, "what was right at once is left alone");
    }
    let n_again = first.len() - n_right;
    let sentence = format!("guards: of 18 rows, {n_again} were sampled again (");
    assert!(said.contains(&sentence) && said.contains("and 0 broke"), "{said}");

    let flags = ["--forbid-regex", "(?s).", "--attempts", "2", "--refusal", "No to that."];
    let (lines, said) = generate(&place, &prompts(), &flags);
    assert!(
        said.contains("of 3 rows, 3 were sampled again (6 attempts in all) and 3 broke"),
        "{said}"
    );
    for line in &lines {
        let want = json!({ "output_ids": tokenizer.encode("No to that."), "text": "No to that.",
            "finish_reason": "guard" });
        assert_eq!(line, &want);
    }
    let (lines, _) =
        generate(&place, &prompts(), &[&flags[..], &["--on-violation", "keep"]].concat());
    assert!(lines.iter().all(|line| tokens(line).len() > 1 && line["finish_reason"] == "guard"));
}

fn user(content: &str) -> Value {
    json!({ "role": "user", "content": content })
}

fn assistant(content: &str) -> Value {
    json!({ "role": "assistant", "content": content })
}

#[test]
fn conversations_are_rows_of_their_tokens() {
    let (place, tokenizer) = place();
    let template = tokenizer.template(CHATML).expect("is safe");
    let messages = [user("Say hello"), assistant("hello")];
    let encode = |messages: &[Value], opens| {
        encode_chat(messages, None, opens, &template, &tokenizer).expect("renders").tokens
    };
    let whole = json!({ "input_ids": encode(&messages, false) });
    let opening = json!({ "input_ids": encode(&messages[..1], true) });
    for (command, row, tokens) in [
        ("generate", json!({ "messages": messages[..1] }), &opening),
        ("generate", json!({ "prompt": messages[..1] }), &opening),
        ("logprobs", json!({ "messages": messages }), &whole),
        ("logprobs", json!({ "prompt": messages[..1], "completion": messages[1..] }), &whole),
    ] {
        place.write("rows.jsonl", &format!("{row}\n{tokens}\n"));
        let args = [command, "--model", "model", "--input", "rows.jsonl"];
        let out = place.succeed(&[&args[..], &["--chat-template", "chatml"]].concat());
        let lines: Vec<&str> = out.lines().collect();
        if command == "generate" {
            // Two rows draw different numbers; their prompts are the same.
            let args = [&args[..], &["--chat-template", "chatml", "--greedy"]].concat();
            let out = place.succeed(&args);
            let lines: Vec<&str> = out.lines().collect();
            assert_eq!(lines[0], lines[1], "{row}");
        } else {
            assert_eq!(lines[0], lines[1], "{row}");
        }
    }
    let output = place.output(&["logprobs", "--model", "model", "--input", "rows.jsonl"]);
    let error = String::from_utf8(output.stderr).expect("is text");
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("rows.jsonl:1: ") && error.contains("--chat-template"), "{error}");
}

/// Talks through a pipe.
fn chat(place: &Workplace, lines: &str, flags: &[&str]) -> Output {
    let args = ["chat", "--model", "model", "--chat-template", "chatml", "--max-new-tokens", "24"];
    let mut command = place.rein(&[&args[..], flags].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut input = child.stdin.take().expect("is piped");
    input.write_all(lines.as_bytes()).expect("writes");
    drop(input);
    child.wait_with_output().expect("ends")
}

fn saved(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("reads");
    text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect()
}

#[test]
fn a_conversation_says_what_generate_says() {
    let (place, _) = place();
    let lines = "Say hello\n/undo\nSay hello\n\"\"\"The\nworld\"\"\"\n/nothing\n/reset\nTo you\n/quit\nunread\n";
    for flags in [&["--greedy"][..], &["--temperature", "0.8", "--seed", "5"]] {
        let _ = fs::remove_file(place.path("chats.jsonl"));
        let flags = [flags, &["--system", "Be brief.", "--save", "chats.jsonl"]].concat();
        let output = chat(&place, lines, &flags);
        let error = String::from_utf8(output.stderr).expect("is text");
        assert!(output.status.success(), "{error}");
        assert!(error.contains("(taken back)") && error.contains("`/nothing` is no command"));
        let shown = String::from_utf8(output.stdout).expect("is text");
        assert!(shown.chars().all(|it| !it.is_control() || "\n\t".contains(it)), "{shown:?}");
        let conversations = saved(&place.path("chats.jsonl"));
        assert_eq!(conversations.len(), 2);
        let said = |row: usize| conversations[row]["messages"].as_array().expect("a list").clone();
        let asked: Vec<Value> = said(0).into_iter().step_by(2).collect();
        assert_eq!(
            said(0)[..2],
            [json!({"role": "system", "content": "Be brief."}), user("Say hello")]
        );
        assert_eq!((said(0)[3].clone(), asked.len()), (user("The\nworld"), 3));
        if flags[0] == "--greedy" {
            // What stands in the cache from before changes nothing.
            for (row, n_before) in [(0, 2), (0, 4), (1, 2)] {
                let before = json!({ "messages": said(row)[..n_before] });
                let flags = ["--greedy", "--chat-template", "chatml", "--stop", "<|im_end|>"];
                let (lines, _) = generate(&place, &[before], &flags);
                assert_eq!(lines[0]["text"], said(row)[n_before]["content"]);
            }
        }
    }
}

#[test]
fn a_long_conversation_loses_its_oldest_turns_and_nothing_else() {
    let (place, _) = place();
    let lines = "Say hello to the world and to all the others, one by one.\n".repeat(8);
    let output = chat(&place, &lines, &["--save", "chats.jsonl"]);
    let error = String::from_utf8(output.stderr).expect("is text");
    assert!(output.status.success() && error.contains("no room for the 1 oldest turns"), "{error}");
    let conversations = saved(&place.path("chats.jsonl"));
    assert_eq!(conversations[0]["messages"].as_array().map(Vec::len), Some(16));
    let output = chat(&place, &format!("{}\nTo you\n", "hello ".repeat(400)), &[]);
    let error = String::from_utf8(output.stderr).expect("is text");
    assert!(output.status.success() && error.contains("your message was taken back"), "{error}");
}

#[test]
fn guards_hold_in_a_conversation_and_nothing_is_shown_before() {
    let (place, _) = place();
    let flags = ["--forbid-regex", "(?s).", "--attempts", "2", "--refusal", "No."];
    let output = chat(&place, "Say hello\n/save chats.jsonl\n", &flags);
    assert_eq!(String::from_utf8(output.stdout).expect("is text"), "No.\n");
    assert_eq!(saved(&place.path("chats.jsonl"))[0]["messages"][1], assistant("No."));
}

#[test]
fn an_interrupt_while_nothing_is_said_leaves_and_loses_nothing() {
    let (place, _) = place();
    let args = ["chat", "--model", "model", "--chat-template", "chatml", "--save", "chats.jsonl"];
    let mut command = place.rein(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let mut input = child.stdin.take().expect("is piped");
    writeln!(input, "Say hello").expect("writes");
    let path = place.path("chats.jsonl");
    wait_until("the reply", || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
    // The reply is over; what comes now is between two messages, or stops nothing.
    for _ in 0..3 {
        let id = child.id().to_string();
        Command::new("kill").args(["-INT", &id]).status().expect("sends");
    }
    assert_eq!(child.wait().expect("ends").code(), Some(130));
    assert_eq!(saved(&path)[0]["messages"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_model_that_cannot_talk_says_why() {
    let (place, _) = place();
    let refused = |flags: &[&str], want: &str| {
        let output = place.output(&[&["chat", "--model", "model"], flags].concat());
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("error: {want}\n"));
    };
    refused(
        &[],
        "model: holds no chat template; name the one that the model was trained with: \
         `--chat-template chatml`, `llama3`, `zephyr` or a file",
    );
    refused(
        &["--chat-template", "nothing.jinja"],
        "nothing.jinja: neither chatml, llama3 or zephyr nor a file that can be read: No such file \
         or directory (os error 2)",
    );
    refused(
        &["--chat-template", "chatml", "--max-new-tokens", "256"],
        "`--max-new-tokens` is 256, but model has 256 positions for messages and reply together",
    );
    refused(
        &["--chat-template", "chatml", "--forbid-regex", "(a"],
        "--require-regex, --forbid-regex: `(a` is not a regular expression: unclosed group",
    );
    fs::remove_file(place.path("model/tokenizer.json")).expect("removes");
    refused(&[], "model: holds no tokenizer.json, so it can't talk");
}

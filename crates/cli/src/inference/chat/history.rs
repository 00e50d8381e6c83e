use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rein_data::jsonl;
use serde_json::{Value, json};

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct History {
    messages: Vec<Value>,
    /// How many of the messages come before the conversation: the system's.
    n_system: usize,
    /// How many of the oldest the model no longer gets, because they don't fit.
    n_cut: usize,
}

impl History {
    pub(super) fn new(system: Option<&str>) -> Self {
        let messages: Vec<Value> = system.map(|it| message("system", it)).into_iter().collect();
        Self { n_system: messages.len(), messages, n_cut: 0 }
    }

    pub(super) fn ask(&mut self, text: &str) {
        self.messages.push(message("user", text));
    }

    pub(super) fn reply(&mut self, text: &str) {
        self.messages.push(message("assistant", text));
    }

    /// Takes the last message of the user back, and what was replied. Whether there was one.
    pub(super) fn undo(&mut self) -> bool {
        let last = self.messages.iter().rposition(|it| it["role"] == "user");
        if let Some(last) = last {
            self.messages.truncate(last);
            self.n_cut = self.n_cut.min(last - self.n_system);
        }
        last.is_some()
    }

    pub(super) fn reset(&mut self) {
        self.messages.truncate(self.n_system);
        self.n_cut = 0;
    }

    /// What the model gets.
    pub(super) fn visible(&self) -> Vec<Value> {
        let (system, said) = self.messages.split_at(self.n_system);
        [system, &said[self.n_cut..]].concat()
    }

    /// Leaves the oldest turn out of what the model gets. Whether there was one besides the newest.
    pub(super) fn cut(&mut self) -> bool {
        let rest = &self.messages[self.n_system + self.n_cut..];
        let next = rest.iter().skip(1).position(|it| it["role"] == "user");
        self.n_cut += next.map_or(0, |place| place + 1);
        next.is_some()
    }

    fn is_empty(&self) -> bool {
        self.messages.len() == self.n_system
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// The last line of a file, which holds the conversation: what stood there before stays.
#[derive(Debug)]
pub(super) struct Saved {
    file: File,
    /// Where the line begins.
    start: u64,
}

impl Saved {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut start = file.seek(SeekFrom::End(0))?;
        if start > 0 {
            let mut last = [0];
            file.seek(SeekFrom::Start(start - 1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                start += 1;
            }
        }
        Ok(Self { file, start })
    }

    /// Brings the line up to date. A conversation that hasn't begun has none.
    pub(super) fn update(&mut self, history: &History) -> io::Result<()> {
        self.file.set_len(self.start)?;
        self.file.seek(SeekFrom::Start(self.start))?;
        if !history.is_empty() {
            let line = jsonl::line(&json!({ "messages": history.messages }));
            self.file.write_all(line.as_bytes())?;
        }
        Ok(())
    }

    /// Leaves the line as it is and begins another.
    pub(super) fn next(&mut self) -> io::Result<()> {
        self.start = self.file.seek(SeekFrom::End(0))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn contents(history: &History) -> Vec<String> {
        let visible = history.visible();
        visible.iter().map(|it| it["content"].as_str().expect("a text").to_owned()).collect()
    }

    fn talked(system: Option<&str>, n_turns: usize) -> History {
        let mut history = History::new(system);
        for turn in 0..n_turns {
            history.ask(&format!("q{turn}"));
            history.reply(&format!("a{turn}"));
        }
        history
    }

    #[test]
    fn the_oldest_turns_go_first_and_the_system_stays() {
        let mut history = talked(Some("s"), 2);
        history.ask("q2");
        assert!(history.cut());
        assert_eq!(contents(&history), ["s", "q1", "a1", "q2"]);
        assert!(history.cut());
        assert_eq!(contents(&history), ["s", "q2"]);
        assert!(!history.cut(), "the newest message stays");
        assert_eq!(contents(&history), ["s", "q2"]);
    }

    #[test]
    fn turns_are_taken_back_one_by_one() {
        let mut history = talked(None, 2);
        assert!(history.cut());
        assert!(history.undo());
        assert_eq!(contents(&history), [""; 0], "the first turn was cut");
        assert!(history.undo() && !history.undo());
        history.ask("again");
        assert_eq!(contents(&history), ["again"]);
        history.reset();
        assert!(history.is_empty());
    }

    #[test]
    fn a_file_keeps_what_it_held_and_gains_a_line_per_conversation() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("chats.jsonl");
        fs::write(&path, "{\"messages\":[]}").expect("writes");
        let mut saved = Saved::open(&path).expect("opens");
        let mut history = talked(Some("s"), 2);
        saved.update(&history).expect("saves");
        history.undo();
        saved.update(&history).expect("saves");
        saved.next().expect("goes on");
        history.reset();
        saved.update(&history).expect("saves");
        let text = fs::read_to_string(&path).expect("reads");
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("is JSON")).collect();
        assert_eq!(lines[0], json!({ "messages": [] }));
        assert_eq!(lines[1]["messages"][2], json!({ "role": "assistant", "content": "a0" }));
        assert_eq!((lines.len(), lines[1]["messages"].as_array().expect("a list").len()), (2, 3));
    }
}

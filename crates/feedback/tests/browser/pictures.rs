//! Pictures of the page, for people to look at: written where `REIN_SCREENSHOTS` is set.

use std::path::{Path, PathBuf};

use rein_data::example::Content;
use rein_feedback::{Annotation, Choice, Judgement, Kind, NewTask, Settings, Shown, Split, Store};
use serde_json::json;

use crate::chromium::{Browser, DESKTOP, Driver, Screen};
use crate::served::{Project, Served, task, tasks};

const QUESTION: &str =
    "My bread dough hasn't risen after two hours. The kitchen is rather cold. What should I do?";
const ANSWERS: [&str; 4] = [
    "Cold slows yeast down, so the dough most likely just needs more time and a warmer place.\n\nPut the bowl into the oven with only the light on, or next to a pot of hot water, at about 26 °C, and look again after an hour. If it has grown by half by then, all is well: wait until it has doubled.\n\nIf nothing moves, the yeast may be dead. Stir a teaspoon of fresh yeast into a little lukewarm water with a pinch of sugar; once it foams, knead it into the dough and let it rise again.",
    "Throw it away and start over. Dough that doesn't rise in two hours never will.",
    "Two things matter:\n\n1. **Warmth.** Yeast works best between 24 and 28 °C.\n2. **Time.** In a cold kitchen, a rise of four hours is nothing unusual.\n\nSo move it somewhere warm and be patient. Don't add more flour.",
    "You could bake it anyway; flat breads are fine, too. Spread it with oil and salt, bake it at 230 °C for 15 minutes, and call it focaccia.",
];
const FRAGE: &str = "面团放了两个小时还没有发起来，厨房比较冷。我该怎么办？";
const ANTWORTEN: [&str; 2] = [
    "温度低时酵母会变慢，所以面团多半只是需要更多时间和更暖的地方。\n\n把盆放进只开灯的烤箱里，或放在一锅热水旁边，保持 26 °C 左右，一小时后再看。如果长大了一半，就继续等到两倍大。\n\n如果毫无动静，酵母可能已经失效：取一小勺新酵母，用温水加一点糖化开，起泡后揉进面团，重新发酵。",
    "扔掉重来吧。两个小时都发不起来的面团，再等也没有用。",
];

fn bread(name: &str, n_items: usize) -> NewTask {
    let mut task = task(name, &ANSWERS[..n_items]);
    task.prompt = QUESTION.into();
    NewTask { priority: 1.0, ..task }
}

/// With more said before.
fn conversation(mut project: Project) -> Project {
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    project.tasks[0].prompt = Content::Messages(vec![
        turn("user", "I'd like to bake bread for the first time. Is it hard?"),
        turn(
            "assistant",
            "Not at all! Flour, water, salt and yeast are all it takes, and some patience.",
        ),
        turn("user", QUESTION),
    ]);
    project
}

fn projects() -> Vec<Project> {
    let settings = |kind| {
        Settings {
        guidelines: "Prefer what a patient friend who bakes would say: right, kind, and no longer than it must be.".into(),
        reasons: ["correct", "complete", "clear", "polite"].map(String::from).to_vec(),
        aspects: ["helpful", "harmless"].map(String::from).to_vec(),
        random_share: 0.0,
        ..Settings::of(kind)
    }
    };
    let one = |name, kind, n_items| Project {
        name,
        settings: settings(kind),
        tasks: [vec![bread(name, n_items)], earlier(n_items)].concat(),
    };
    let mut chinese = task("zh", &ANTWORTEN);
    chinese.prompt = FRAGE.into();
    chinese.priority = 1.0;
    let zh = Settings {
        guidelines: "请选出一位有耐心、会烘焙的朋友会说的话：正确、友善、不啰嗦。".into(),
        reasons: ["正确", "完整", "清楚"].map(String::from).to_vec(),
        random_share: 0.0,
        ..Settings::of(Kind::Pair { points: 6, ties: true })
    };
    let mut bidi =
        task("hidden", &["Send it to \u{202e}gro.elpmaxe\u{202c} and\u{200b} wait.", "No."]);
    bidi.prompt = "Where do I send the form?".into();
    vec![
        one("pair", Kind::PAIR, 2),
        conversation(one("conversation", Kind::PAIR, 2)),
        one("strength", Kind::Pair { points: 8, ties: true }, 2),
        one("ranking", Kind::Ranking { ties: true }, 4),
        one("score", Kind::Score { least: 1, most: 7 }, 1),
        one("percent", Kind::Score { least: 0, most: 100 }, 1),
        one("thumbs", Kind::Thumbs, 1),
        one("edit", Kind::Edit, 1),
        one("red-team", Kind::RedTeam, 1),
        Project { name: "pair-zh", settings: zh, tasks: [vec![chinese], earlier(2)].concat() },
        Project { name: "hidden", settings: Settings::default(), tasks: vec![bidi] },
    ]
}

/// A project, the screen it is seen on, what is pressed before, and the picture's name.
const PICTURES: [(&str, Screen, &[&str], &str); 18] = [
    ("conversation", DESKTOP, &["1"], "conversation-light"),
    ("pair", DESKTOP, &["Shift+1", "1"], "pair-light"),
    ("pair", DARK, &["2"], "pair-dark"),
    ("pair", NARROW, &["1"], "pair-narrow"),
    ("strength", DESKTOP, &["2"], "strength-light"),
    ("strength", NARROW, &["7"], "strength-narrow"),
    ("ranking", DARK, &["1", "ArrowRight", "4", "ArrowRight", "1"], "ranking-dark"),
    ("ranking", DESKTOP, &["1", "ArrowRight", "4"], "ranking-light"),
    ("ranking", NARROW, &["1"], "ranking-narrow"),
    ("score", DESKTOP, &["6"], "score-light"),
    ("percent", DESKTOP, &["6", "4"], "percent-light"),
    ("thumbs", DARK, &["1"], "thumbs-dark"),
    ("edit", DESKTOP, &["e"], "edit-light"),
    ("red-team", DESKTOP, &["3", "Shift+2"], "red-team-light"),
    ("pair-zh", CHINESE, &["2"], "pair-chinese"),
    ("hidden", DESKTOP, &[], "hidden-characters"),
    ("pair", DESKTOP, &["Enter"], "incomplete"),
    ("pair", DESKTOP, &["?"], "help"),
];
const DARK: Screen = Screen { is_dark: true, ..DESKTOP };
const NARROW: Screen = Screen { width: 390, height: 844, ..DESKTOP };
const CHINESE: Screen = Screen { language: "zh-CN", ..DESKTOP };

#[test]
fn every_mode_has_a_picture() {
    if folder().is_none() {
        return;
    }
    let Some(driver) = Driver::start() else { return };
    let served = Served::start(&projects(), &["ann", "bob"]);
    for project in ["pair", "pair-zh", "ranking"] {
        answer_earlier(&served.store, project);
    }
    for (project, screen, keys, name) in PICTURES {
        let browser = driver.open(screen);
        browser.log_in(&served.address, &served.tokens[0]);
        if name == "pair-light" {
            browser.picture("projects");
        }
        browser.open_project(project);
        browser.press(keys);
        browser.picture(name);
    }
}

impl Browser {
    /// Writes a picture of the window, if pictures are wanted.
    pub(crate) fn picture(&self, name: &str) {
        let Some(folder) = folder() else { return };
        // What has just changed is painted first.
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::fs::create_dir_all(&folder).expect("makes the folder");
        let path = folder.join(format!("{name}.png"));
        std::fs::write(path, decode(&self.screenshot())).expect("writes the picture");
    }
}

fn folder() -> Option<PathBuf> {
    std::env::var_os("REIN_SCREENSHOTS").map(PathBuf::from)
}

/// Tasks that were answered before, so that the pictures show some progress.
fn earlier(n_items: usize) -> Vec<NewTask> {
    tasks(23, n_items).into_iter().map(|task| NewTask { overlap: 2, ..task }).collect()
}

/// Ann and bob answer most of them, and agree on most of those.
fn answer_earlier(path: &Path, project: &str) {
    let mut store = Store::open(path).expect("opens");
    let tasks = store.tasks(project, Split::Train).expect("reads");
    let mut said = Vec::new();
    for (number, task) in tasks.iter().filter(|it| it.overlap == 2).take(14).enumerate() {
        for (annotator, agrees) in [("ann", true), ("bob", number % 6 != 5)] {
            let choice = if agrees { Choice::First } else { Choice::Second };
            let n_items = task.responses.len();
            let ranks = if agrees { (1..=4).collect() } else { vec![4, 3, 2, 1] };
            let judgement = match n_items {
                2 => Judgement::preferred(choice),
                _ => Judgement::Ranked { ranks },
            };
            said.push(Annotation {
                task: task.id,
                annotator: annotator.into(),
                answer: judgement.into(),
                shown: Shown((0..n_items).collect()),
                idem_key: format!("{project} {annotator} {number}"),
                active_ms: None,
            });
        }
    }
    store.annotate(&said).expect("stores");
}

/// Base 64.
fn decode(text: &str) -> Vec<u8> {
    let value = |it: u8| match it {
        b'A'..=b'Z' => Some(it - b'A'),
        b'a'..=b'z' => Some(it - b'a' + 26),
        b'0'..=b'9' => Some(it - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u32> = text.bytes().filter_map(value).map(u32::from).collect();
    let group = |it: &[u32]| {
        let bits = it.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - it.len()));
        bits.to_be_bytes()[1..it.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

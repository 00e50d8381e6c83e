//! A person's session in each mode, by the mouse alone.

use rein_feedback::{Answer, Aspect, Choice, Judgement, Kind, Settings};

use crate::chromium::{Browser, DESKTOP, Driver};
use crate::page::hook;
use crate::served::{Project, Served, tasks};

fn begin(kind: Kind, n_tasks: usize, n_items: usize) -> Option<(Driver, Served, Browser)> {
    let driver = Driver::start()?;
    let reasons = vec!["clear".into(), "correct".into()];
    let aspects = vec!["safety".into(), "style".into()];
    let settings = Settings { kind, reasons, aspects, ..Settings::default() };
    let served = Served::start(&[Project::of(settings, tasks(n_tasks, n_items))], &["ann"]);
    let browser = driver.open(DESKTOP);
    browser.log_in(&served.address, &served.tokens[0]);
    browser.open_project("p");
    Some((driver, served, browser))
}

impl Browser {
    /// Clicks on one after another, and then on Submit.
    fn say(&self, testids: &[&str]) {
        self.finish(|| {
            for testid in testids {
                self.click_on(testid);
            }
            self.click_on("submit");
        });
    }
}

#[test]
fn pairs() {
    let Some((_driver, served, browser)) = begin(Kind::PAIR, 4, 2) else { return };
    let mut expected = Vec::new();
    for place in [Choice::First, Choice::Second] {
        let turn = |it: Choice| if browser.shown(2) == [0, 1] { it } else { it.other() };
        let aspects = vec![
            Aspect { name: "safety".into(), choice: Some(turn(Choice::First)) },
            Aspect { name: "style".into(), choice: None },
        ];
        let judgement = Judgement::preferred(turn(place));
        let reasons = vec!["clear".into()];
        expected.push(Answer {
            judgement,
            reasons,
            aspects,
            comment: String::new(),
            weight: 1.0,
            margin: None,
        });
        let testid = if place == Choice::First { "choose-first" } else { "choose-second" };
        browser.say(&["reason-0", "aspect-0-first", "aspect-1-neither", "both-bad", testid]);
    }
    browser.say(&["tie"]);
    browser.say(&["both-bad"]);
    expected.extend([Judgement::Tie, Judgement::BothBad].map(Answer::from));
    assert_eq!(served.answers("p"), expected);
    browser.picture("nothing-left");
    assert!(browser.text_of("nothing").contains("Nothing is left for you here"));
    assert!(browser.text_of("progress").contains("4 of 4 tasks done"));
}

#[test]
fn strengths() {
    let Some((_driver, served, browser)) = begin(Kind::Pair { points: 4, ties: false }, 4, 2)
    else {
        return;
    };
    let mut expected = Vec::new();
    for (point, place, strength) in [
        (1, Choice::First, 2),
        (2, Choice::First, 1),
        (3, Choice::Second, 1),
        (4, Choice::Second, 2),
    ] {
        let choice = if browser.shown(2) == [0, 1] { place } else { place.other() };
        assert!(!browser.has("tie"), "this project has no ties");
        browser.say(&[&format!("strength-{point}")]);
        expected.push(Judgement::Preferred { choice, strength });
    }
    assert_eq!(served.judgements("p"), expected);
}

#[test]
fn rankings_by_dragging_and_by_buttons() {
    let Some((_driver, served, browser)) = begin(Kind::Ranking { ties: false }, 3, 3) else {
        return;
    };
    let ranked = |shown: &[usize], ranks: [u8; 3]| {
        let mut of_items = vec![0; 3];
        for (item, rank) in shown.iter().zip(ranks) {
            of_items[*item] = rank;
        }
        Judgement::Ranked { ranks: of_items }
    };
    let mut expected = Vec::new();

    let shown = browser.shown(3);
    let badge = |place: usize| format!(".card .badge[data-item=\"{place}\"]");
    let slot = |rank: usize| hook(&format!("rank-{rank}"));
    for (place, rank) in [(0, 3), (1, 1), (2, 2)] {
        browser.drag(browser.middle_of(&badge(place)), browser.middle_of(&slot(rank)));
    }
    browser.say(&[]);
    expected.push(ranked(&shown, [3, 1, 2]));

    // Whoever had a place gets the place of whom it is given to.
    let shown = browser.shown(3);
    browser.say(&["down-0", "down-0", "item-1", "rank-3"]);
    expected.push(ranked(&shown, [1, 3, 2]));

    let shown = browser.shown(3);
    browser.say(&["item-2", "rank-1", "item-0", "rank-2", "item-1", "rank-3"]);
    expected.push(ranked(&shown, [2, 3, 1]));
    assert_eq!(served.judgements("p"), expected);
}

#[test]
fn grades_thumbs_and_attacks() {
    let Some((_driver, served, browser)) = begin(Kind::Score { least: -2, most: 2 }, 2, 1) else {
        return;
    };
    browser.say(&["score-2", "score--1"]);
    browser.say(&["score-0"]);
    let grades = [-1.0, 0.0].map(|score| Judgement::Scored { score });
    assert_eq!(served.judgements("p"), grades);

    let Some((_driver, served, browser)) = begin(Kind::Thumbs, 2, 1) else { return };
    browser.say(&["thumb-down"]);
    browser.say(&["thumb-down", "thumb-up"]);
    assert_eq!(served.judgements("p"), [false, true].map(|up| Judgement::Thumb { up }));

    let Some((_driver, served, browser)) = begin(Kind::RedTeam, 1, 1) else { return };
    browser.click_on("other-tags");
    browser.write("poison, 毒药， correct");
    browser.say(&["success-2", "tag-0", "success-3"]);
    let tags = ["clear", "poison", "毒药", "correct"].map(String::from).to_vec();
    assert_eq!(served.judgements("p"), [Judgement::Attacked { success: 3, tags }]);
}

#[test]
fn edits_skips_flags_and_undoing() {
    let Some((_driver, served, browser)) = begin(Kind::Edit, 3, 1) else { return };
    browser.finish(|| browser.click_on("skip"));
    browser.finish(|| {
        browser.click_on("flag");
        browser.click_on("flag-send");
    });
    browser.click_on("edited");
    browser.write("!");
    let text = browser.value_of("edited");
    browser.say(&[]);
    assert_eq!(served.judgements("p"), [Judgement::Edited { text: text.clone() }]);
    browser.click_on("undo");
    browser.wait_for(&hook("prompt"));
    assert_eq!(browser.value_of("edited"), text);
    browser.click_on("edited");
    browser.write("?");
    browser.say(&[]);
    assert_eq!(served.judgements("p"), [Judgement::Edited { text: text + "?" }]);
    assert_eq!(served.skipped_and_flagged("p"), (1, 1));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

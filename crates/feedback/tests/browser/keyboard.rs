//! A person's session in each mode, by the keyboard alone.

use rein_feedback::{Answer, Aspect, Choice, Judgement, Kind, Settings};

use crate::chromium::{Browser, DESKTOP, Driver};
use crate::page::hook;
use crate::served::{Project, Served, tasks};

/// Opens the only project as somebody who has no mouse.
fn begin(kind: Kind, n_tasks: usize, n_items: usize) -> Option<(Driver, Served, Browser)> {
    let driver = Driver::start()?;
    let reasons = vec!["clear".into(), "correct".into()];
    let aspects = vec!["safety".into()];
    let settings = Settings { kind, reasons, aspects, ..Settings::default() };
    let served = Served::start(&[Project::of(settings, tasks(n_tasks, n_items))], &["ann"]);
    let browser = driver.open(DESKTOP);
    browser.log_in(&served.address, &served.tokens[0]);
    // The first project is in focus.
    browser.press(&["Enter"]);
    browser.wait_for(&hook("prompt"));
    Some((driver, served, browser))
}

/// The item of the task that stands on one side.
fn side(browser: &Browser, choice: Choice) -> Choice {
    if browser.shown(2) == [0, 1] { choice } else { choice.other() }
}

#[test]
fn pairs() {
    let Some((_driver, served, browser)) = begin(Kind::PAIR, 6, 2) else { return };
    let mut expected = Vec::new();
    let presses =
        [["1", "Enter"], ["2", "2"], ["3", "3"], ["t", "Enter"], ["b", "b"], ["2", "Enter"]];
    for [first, second] in presses {
        let judgement = match first {
            "1" => Judgement::preferred(side(&browser, Choice::First)),
            "2" => Judgement::preferred(side(&browser, Choice::Second)),
            "b" => Judgement::BothBad,
            _ => Judgement::Tie,
        };
        let comment = "what keys mean is text here: 1 2 s f u b";
        browser.finish(|| {
            let prompt = browser.prompt();
            browser.press(&["Shift+2", "c"]);
            browser.write(comment);
            browser.press(&["Escape", first]);
            assert_eq!(browser.prompt(), prompt, "a choice isn't submitted at once");
            browser.press(&[second]);
        });
        let (reasons, aspects) = (vec!["correct".into()], Vec::new());
        expected.push(Answer {
            judgement,
            reasons,
            aspects,
            comment: comment.into(),
            weight: 1.0,
            margin: None,
        });
    }
    browser.wait_for(&hook("nothing"));
    assert_eq!(served.answers("p"), expected);
    let times = served.stored("p").into_iter().map(|it| it.active_ms);
    assert!(times.into_iter().all(|it| it.is_some_and(|it| (1..60_000).contains(&it))));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn pairs_on_a_scale_and_in_detail() {
    let kind = Kind::Pair { points: 8, ties: true };
    let Some((_driver, served, browser)) = begin(kind, 8, 2) else { return };
    let mut expected = Vec::new();
    for point in 1..=8_u8 {
        let (place, strength) =
            if point <= 4 { (Choice::First, 5 - point) } else { (Choice::Second, point - 4) };
        let choice = side(&browser, place);
        let of_safety = side(&browser, Choice::Second);
        browser.finish(|| {
            // From the first of the aspect's radio buttons to the last.
            browser.press(&["a", "ArrowRight", "ArrowRight", &point.to_string(), "Enter"]);
        });
        let aspects = vec![Aspect { name: "safety".into(), choice: Some(of_safety) }];
        let judgement = Judgement::Preferred { choice, strength };
        expected.push(Answer { aspects, ..judgement.into() });
    }
    assert_eq!(served.answers("p"), expected);
}

#[test]
fn rankings() {
    let Some((_driver, served, browser)) = begin(Kind::Ranking { ties: true }, 3, 4) else {
        return;
    };
    let shown = browser.shown(4);
    browser.finish(|| {
        let keys = ["2", "ArrowRight", "1", "ArrowDown", "4", "ArrowRight", "2", "Enter"];
        browser.press(&keys);
    });
    // Places 1, 2, 2 and 4 become 1, 2, 2 and 3.
    let mut expected = vec![ranked(&shown, &[2, 1, 3, 2])];

    // The order of the page has to be meant.
    let shown = browser.shown(4);
    browser.finish(|| {
        let keys = ["1", "ArrowRight", "2", "ArrowRight", "3", "ArrowRight", "4", "Enter"];
        browser.press(&keys);
        browser.wait_for_banner("This is the order in which the responses were shown");
        browser.press(&["Enter"]);
    });
    expected.push(ranked(&shown, &[1, 2, 3, 4]));

    // The first moves down by two.
    let shown = browser.shown(4);
    browser.finish(|| {
        browser.press(&["Enter"]);
        browser.wait_for_banner("Give every response a place first");
        browser.press(&["Shift+ArrowDown", "Shift+ArrowDown", "Enter"]);
    });
    expected.push(ranked(&shown, &[3, 1, 2, 4]));
    assert_eq!(served.judgements("p"), expected);
}

/// Ranks of places on the page, as ranks of the task's items.
fn ranked(shown: &[usize], ranks: &[u8]) -> Judgement {
    let mut of_items = vec![0; ranks.len()];
    for (item, rank) in shown.iter().zip(ranks) {
        of_items[*item] = *rank;
    }
    Judgement::Ranked { ranks: of_items }
}

#[test]
fn grades() {
    let Some((_driver, served, browser)) = begin(Kind::Score { least: 1, most: 7 }, 3, 1) else {
        return;
    };
    for keys in [["5", "5"], ["7", "Enter"], ["3", "ArrowLeft"]] {
        browser.finish(|| {
            browser.press(&keys);
            if keys[1] == "ArrowLeft" {
                browser.press(&["Enter"]);
            }
        });
    }
    let grade = |score| Judgement::Scored { score };
    assert_eq!(served.judgements("p"), [grade(5.0), grade(7.0), grade(2.0)]);
}

#[test]
fn grades_of_many_digits() {
    let Some((_driver, served, browser)) = begin(Kind::Score { least: -20, most: 80 }, 2, 1) else {
        return;
    };
    browser.finish(|| browser.press(&["6", "4", "Enter"]));
    browser.finish(|| {
        browser.press(&["9", "9", "Enter"]);
        browser.wait_for_banner("Choose a grade first");
        browser.press(&["Escape", "-", "7", "Enter"]);
    });
    let grade = |score| Judgement::Scored { score };
    assert_eq!(served.judgements("p"), [grade(64.0), grade(-7.0)]);
}

#[test]
fn thumbs() {
    let Some((_driver, served, browser)) = begin(Kind::Thumbs, 3, 1) else { return };
    browser.finish(|| browser.press(&["1", "Enter"]));
    browser.finish(|| browser.press(&["ArrowDown", "ArrowDown"]));
    browser.finish(|| browser.press(&["2", "1", "Enter"]));
    let thumbs = [true, false, true].map(|up| Judgement::Thumb { up });
    assert_eq!(served.judgements("p"), thumbs);
}

#[test]
fn edits() {
    let Some((_driver, served, browser)) = begin(Kind::Edit, 2, 1) else { return };
    let text = "Answer 0 to 1., but better: 好。";
    browser.finish(|| {
        browser.press(&["e", "Control+a"]);
        browser.write(text);
        browser.press(&["Control+Enter"]);
    });
    browser.finish(|| {
        browser.press(&["Enter"]);
        browser.wait_for_banner("Your version is the response as it was");
        browser.press(&["Enter"]);
    });
    let edited = |text: &str| Judgement::Edited { text: text.into() };
    assert_eq!(served.judgements("p"), [edited(text), edited("Answer 0 to 2.")]);
}

#[test]
fn attacks() {
    let Some((_driver, served, browser)) = begin(Kind::RedTeam, 2, 1) else { return };
    browser.finish(|| browser.press(&["0", "0"]));
    browser.finish(|| browser.press(&["Shift+1", "4", "Enter"]));
    let none = Judgement::Attacked { success: 0, tags: Vec::new() };
    let clear = Judgement::Attacked { success: 4, tags: vec!["clear".into()] };
    assert_eq!(served.judgements("p"), [none, clear]);
}

#[test]
fn skips_flags_and_undoing() {
    let Some((_driver, served, browser)) = begin(Kind::PAIR, 3, 2) else { return };
    let skipped = browser.finish(|| browser.press(&["s"]));
    let flagged = browser.finish(|| {
        browser.press(&["f"]);
        browser.wait_for(&hook("flag-dialog"));
        browser.write("s is a letter here");
        browser.press(&["Enter"]);
    });
    assert_eq!(served.skipped_and_flagged("p"), (1, 1));
    let first = side(&browser, Choice::First);
    let answered = browser.finish(|| browser.press(&["1", "1"]));
    assert_eq!(served.judgements("p"), [Judgement::preferred(first)]);

    // The answer comes back as it was given, and another one takes its place.
    browser.press(&["u"]);
    browser.wait_for(&hook("prompt"));
    assert_eq!(browser.prompt(), answered);
    assert!(browser.is_chosen("choose-first"));
    assert_eq!(served.judgements("p"), [], "it doesn't stand any more");
    browser.finish(|| browser.press(&["2", "2"]));
    assert_eq!(served.judgements("p"), [Judgement::preferred(first.other())]);

    // One after another, what was said before.
    for prompt in [&answered, &flagged, &skipped] {
        browser.press(&["Backspace"]);
        let script =
            "return document.querySelector('[data-testid=prompt]')?.textContent === arguments[0]";
        browser.wait_until(script, &[prompt.as_str().into()], prompt);
    }
    browser.press(&["u"]);
    browser.wait_for_banner("There is nothing to undo");
    assert_eq!(served.skipped_and_flagged("p"), (0, 0));
}

#[test]
fn help_tells_the_keys() {
    let Some((_driver, _served, browser)) = begin(Kind::Thumbs, 1, 1) else { return };
    browser.press(&["?"]);
    browser.wait_for(&hook("help-dialog"));
    assert!(browser.text_of("help-dialog").contains("good, bad"));
    let prompt = browser.prompt();
    browser.press(&["s", "1", "1", "Escape"]);
    let script = "return document.querySelector('dialog') === null";
    browser.wait_until(script, &[], "the page");
    assert_eq!(browser.prompt(), prompt, "nothing happens behind it");
    assert!(!browser.is_chosen("thumb-up"));
}

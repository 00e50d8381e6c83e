//! What happens when something comes between a person and their answer.

use rein_feedback::{Choice, Judgement, Kind, NewTask, Settings, Store};
use serde_json::json;

use crate::chromium::{Browser, DESKTOP, Driver};
use crate::page::hook;
use crate::served::{Project, Served, task, tasks};

fn begin(settings: Settings, tasks: Vec<NewTask>) -> Option<(Driver, Served, Browser)> {
    let driver = Driver::start()?;
    let served = Served::start(&[Project::of(settings, tasks)], &["ann", "bob"]);
    let browser = driver.open(DESKTOP);
    browser.log_in(&served.address, &served.tokens[0]);
    browser.open_project("p");
    Some((driver, served, browser))
}

#[test]
fn a_draft_comes_back_wherever_one_goes_on() {
    let kind = Kind::Ranking { ties: true };
    let Some((driver, served, browser)) = begin(Settings::of(kind), tasks(9, 3)) else { return };
    let (prompt, shown) = (browser.prompt(), browser.shown(3));
    browser.press(&["3", "ArrowRight", "1", "c"]);
    browser.write("half done");
    browser.press(&["Control+s"]);
    browser.wait_for_banner("Draft saved");
    assert_eq!(served.judgements("p"), [], "a draft is no answer");

    // Another machine, which knows only what the server does.
    let elsewhere = driver.open(DESKTOP);
    elsewhere.log_in(&served.address, &served.tokens[0]);
    elsewhere.open_project("p");
    assert_eq!((elsewhere.prompt(), elsewhere.shown(3)), (prompt, shown.clone()));
    assert_eq!(elsewhere.value_of("comment"), "half done");
    elsewhere.finish(|| elsewhere.press(&["ArrowLeft", "2", "Enter"]));
    let mut ranks = vec![0; 3];
    for (place, rank) in [(0, 3), (1, 1), (2, 2)] {
        ranks[shown[place]] = rank;
    }
    assert_eq!(served.judgements("p"), [Judgement::Ranked { ranks }]);
}

#[test]
fn a_reload_loses_nothing_that_was_typed() {
    let Some((_driver, served, browser)) = begin(Settings::of(Kind::Edit), tasks(9, 1)) else {
        return;
    };
    let prompt = browser.prompt();
    browser.press(&["e"]);
    browser.write(" and more");
    let text = browser.value_of("edited");
    browser.reload();
    assert_eq!(browser.prompt(), prompt, "the task is still held");
    assert_eq!(browser.value_of("edited"), text);
    browser.finish(|| browser.press(&["Control+Enter"]));
    assert_eq!(served.judgements("p"), [Judgement::Edited { text }]);
}

#[test]
fn answers_wait_while_the_server_is_away() {
    let Some((_driver, mut served, browser)) = begin(Settings::default(), tasks(3, 2)) else {
        return;
    };
    let first = |browser: &Browser| match browser.shown(2)[0] {
        0 => Judgement::preferred(Choice::First),
        _ => Judgement::preferred(Choice::Second),
    };
    let mut expected = vec![first(&browser)];
    let prompt = browser.prompt();
    served.stop();
    browser.press(&["1", "1"]);
    browser.wait_for(&hook("offline"));
    browser.picture("offline");
    assert!(browser.text_of("offline").contains("Answers that wait here: 1."));
    served.come_back();
    browser.wait_past(&prompt);
    assert!(!browser.has("offline"));
    assert_eq!(served.judgements("p"), expected);

    // The page is closed before the server is back.
    expected.push(first(&browser));
    served.stop();
    browser.press(&["1", "1"]);
    browser.wait_for(&hook("offline"));
    browser.go("about:blank");
    served.come_back();
    browser.go(&served.address);
    browser.open_project("p");
    assert!(browser.text_of("progress").contains("2 by you"));
    assert_eq!(served.judgements("p"), expected, "it is sent once, and no more");
}

#[test]
fn a_task_that_others_answered_meanwhile_is_told() {
    let first = NewTask { priority: 1.0, ..task("taken", &["Answer 0 x", "Answer 1 x"]) };
    let settings = Settings { random_share: 0.0, ..Settings::default() };
    let all = [vec![first], tasks(2, 2)].concat();
    let Some((driver, served, browser)) = begin(settings, all) else { return };
    assert_eq!(browser.prompt(), "Prompt taken");
    end_leases(&served);
    let other = driver.open(DESKTOP);
    other.log_in(&served.address, &served.tokens[1]);
    other.open_project("p");
    assert_eq!(other.prompt(), "Prompt taken");
    other.finish(|| other.press(&["1", "1"]));
    browser.finish(|| browser.press(&["1", "1"]));
    browser.wait_for_banner("Enough others answered this task meanwhile");
    let by: Vec<_> = served.stored("p").into_iter().map(|it| it.annotator).collect();
    assert_eq!(by, ["bob"]);
}

/// As if an hour had gone by.
fn end_leases(served: &Served) {
    let store = rusqlite::Connection::open(&served.store).expect("opens");
    store.busy_timeout(std::time::Duration::from_secs(5)).expect("waits");
    store.execute("UPDATE lease SET expires_at = expires_at - 3600000", []).expect("changes");
}

#[test]
fn an_ended_lease_is_told_and_the_answer_still_taken() {
    let Some((_driver, served, browser)) = begin(Settings::default(), tasks(1, 2)) else { return };
    end_leases(&served);
    browser.run("const now = Date.now; Date.now = () => now() + 16 * 60000", &[]);
    browser.wait_for_banner("This task was kept for you until a moment ago");
    browser.finish(|| browser.press(&["t", "t"]));
    assert_eq!(served.judgements("p"), [Judgement::Tie]);
}

#[test]
fn time_without_a_sign_of_life_is_not_counted() {
    let Some((_driver, _served, browser)) = begin(Settings::default(), tasks(1, 2)) else { return };
    let counted = browser.run_async(
        "const { Clock } = await import('/clock.js');
         let now = 1000;
         const clock = new Clock(500, () => now);
         const sign = () => document.dispatchEvent(new Event('pointermove'));
         const seen = [clock.activeMs()];
         now += 20_000; seen.push(clock.activeMs());
         sign(); now += 600_000; seen.push(clock.activeMs(), clock.isActive());
         sign(); now += 10_000; seen.push(clock.activeMs(), clock.isActive());
         let isInSight = false;
         Object.defineProperty(document, 'visibilityState', { get: () => isInSight ? 'visible' : 'hidden', configurable: true });
         document.dispatchEvent(new Event('visibilitychange'));
         now += 30_000; sign(); seen.push(clock.activeMs());
         isInSight = true;
         document.dispatchEvent(new Event('visibilitychange'));
         now += 5_000; seen.push(clock.activeMs());
         clock.stop();
         return seen;",
    );
    let expected = json!([500, 20_500, 80_500, false, 90_500, true, 90_500, 95_500]);
    assert_eq!(counted, expected);
}

#[test]
fn what_was_said_waits_for_whoever_logs_in_again() {
    let Some((_driver, served, browser)) = begin(Settings::default(), tasks(2, 2)) else { return };
    let prompt = browser.prompt();
    browser.forget_cookies();
    browser.press(&["t", "t"]);
    browser.click_on("token");
    assert_eq!(served.judgements("p"), []);
    browser.write(&served.tokens[0]);
    browser.press(&["Enter"]);
    browser.wait_for(&hook("prompt"));
    assert_ne!(browser.prompt(), prompt, "the project goes on where it was left");
    assert_eq!(served.judgements("p"), [Judgement::Tie]);
}

#[test]
fn nothing_is_said_in_the_name_of_somebody_else() {
    let Some((_driver, served, browser)) = begin(Settings::default(), tasks(2, 2)) else { return };
    // Another page of this browser logs bob in.
    let script = format!(
        "const body = JSON.stringify({{ token: '{}' }});
         const headers = {{ 'content-type': 'application/json' }};
         return (await fetch('/api/session', {{ method: 'POST', headers, body }})).status",
        served.tokens[1]
    );
    assert_eq!(browser.run_async(&script), 200);
    browser.press(&["t", "t"]);
    browser.click_on("token");
    assert_eq!(served.stored("p").len(), 0);
    browser.write(&served.tokens[0]);
    browser.press(&["Enter"]);
    browser.wait_for(&hook("prompt"));
    let by: Vec<_> = served.stored("p").into_iter().map(|it| it.annotator).collect();
    assert_eq!(by, ["ann"]);
}

#[test]
fn whoever_is_suspended_or_unknown_is_told() {
    let Some((driver, served, browser)) = begin(Settings::default(), tasks(2, 2)) else { return };
    let mut store = Store::open(&served.store).expect("opens");
    store.change(|it| it.suspend("ann", true)).expect("suspends");
    browser.press(&["1", "1"]);
    browser.wait_for_banner("You can't answer any more");
    assert!(browser.is_chosen("choose-first"), "what was chosen stays to be seen");

    let stranger = driver.open(DESKTOP);
    stranger.go(&format!("{}/#token={}", served.address, "0".repeat(64)));
    stranger.click_on("token");
    stranger.write("nonsense");
    stranger.press(&["Enter"]);
    stranger.wait_until(
        "return document.querySelector('.wrong').textContent.startsWith('Nobody has this token')",
        &[],
        "the refusal",
    );
    stranger.click_on("token");
    stranger.press(&["Control+a"]);
    stranger.write(&format!("{}/#token={}", served.address, served.tokens[1]));
    stranger.press(&["Enter"]);
    stranger.wait_for(&hook("project-p"));
}

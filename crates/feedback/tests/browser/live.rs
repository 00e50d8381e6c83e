//! A model that answers on the page.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use rein_feedback::implicit::{HarvestConfig, Reason, Texts, acts, harvest};
use rein_feedback::serve::{Answers, Ask, AskWhen, Lesson, Live, Model, Sampled};
use rein_feedback::{Choice, Judgement, Kind, Settings, Store};

use crate::chromium::{Browser, DESKTOP, Driver, Screen};
use crate::page::hook;
use crate::served::{Project, Served};

/// Answers as often as it is asked to, and isn't sure of questions with a question mark.
#[derive(Debug, Default)]
struct Parrot {
    lessons: Mutex<Vec<Lesson>>,
}

impl Model for Parrot {
    fn name(&self) -> String {
        "parrot".into()
    }

    fn answer(
        &self,
        ask: &Ask,
        tell: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Answers, String> {
        let prompt = &ask.messages[0].content;
        if prompt == "fail" {
            return Err("the parrot sleeps".into());
        }
        let sample = |place: usize| {
            let text = format!("Answer {place} to {prompt}\n\n<b>{place}</b>");
            for piece in text.split_inclusive(' ') {
                let _ = tell(place, piece);
            }
            let score = Some(place as f64);
            Sampled { text, finished: true, n_tokens: 5, entropy: Some(1.0), score }
        };
        let samples = (0..ask.n).map(sample).collect();
        let disagreement = Some(if prompt.ends_with('?') { 0.5 } else { 0.1 });
        Ok(Answers { samples, n_prompt_tokens: 3, disagreement })
    }

    fn learn(&self, lessons: &[Lesson]) -> Result<(), String> {
        *self.lessons.lock().map_err(|it| it.to_string())? = lessons.to_vec();
        Ok(())
    }
}

#[test]
fn a_model_is_asked_and_taught() {
    let Some(driver) = Driver::start() else { return };
    let parrot = Arc::new(Parrot::default());
    let ask = AskWhen { disagreement: Some(0.3), entropy: None };
    let live = Live { model: parrot.clone(), project: "p".into(), ask };
    let project = Project::of(Settings::default(), Vec::new());
    let served = Served::start_with(&[project], &["ann"], |it| it.live = Some(live));
    let browser = driver.open(DESKTOP);
    browser.log_in(&served.address, &served.tokens[0]);
    assert!(browser.text_of("live-p").contains("parrot"));
    browser.click_on("live-p");

    // It isn't sure: somebody says which is better.
    browser.wait_for(&hook("question"));
    browser.write("why 1?");
    browser.press(&["Enter"]);
    browser.wait_for(&hook("choose-first"));
    let banner = browser.text_of("banner");
    assert!(banner.contains("Asked because its judges disagree by 0.50."), "{banner}");
    browser.picture("live-asks");
    let choice = if browser.shown(2)[0] == 0 { Choice::First } else { Choice::Second };
    browser.press(&["Escape"]);
    browser.press(&["1", "1"]);
    browser.wait_for_banner("Thank you");
    assert_eq!(served.judgements("p"), [Judgement::preferred(choice)]);
    let learned = || parrot.lessons.lock().expect("a list").len() == 1;
    while !learned() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }

    the_better_answer_alone(&browser, &served);

    browser.click_on("question");
    browser.write("fail");
    browser.press(&["Enter"]);
    browser.wait_for_banner("No answer came (the parrot sleeps)");
    assert_eq!(browser.value_of("question"), "fail", "it can be sent again");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// It is sure: the better one alone is shown, and what is done with it is told.
fn the_better_answer_alone(browser: &Browser, served: &Served) {
    browser.click_on("question");
    browser.write("say it");
    browser.press(&["Enter"]);
    browser.wait_for(&hook("live-up"));
    assert!(browser.text_of("item-0").starts_with("Answer 1 to say it"));
    assert!(!browser.has("item-1"));
    browser.picture("live-answers");
    for testid in ["live-up", "live-copy", "live-again"] {
        browser.click_on(testid);
    }
    browser.wait_for(&hook("live-up"));
    browser.click_on("live-edit");
    browser.write("!");
    browser.click_on("live-keep");
    let kinds = || -> Vec<String> {
        let events = Store::read(&served.store).and_then(|it| it.events("p")).expect("reads");
        events.iter().filter_map(|it| it["type"].as_str().map(str::to_owned)).collect()
    };
    let expected = ["live", "live", "thumb", "copy", "regenerate", "close", "live", "edit"];
    let begin = std::time::Instant::now();
    while kinds().len() < expected.len() && begin.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all
    };
    assert_eq!(sorted(kinds()), sorted(expected.map(String::from).to_vec()));
    let reported = Store::read(&served.store).and_then(|it| it.reported("p")).expect("reads");
    let acts = acts(&reported, Texts::default()).expect("is read");
    assert_eq!((acts.impressions.len(), acts.n_passed_over), (2, 0));
    let found = harvest(&acts.impressions, &acts.texts, &HarvestConfig::default());
    let pairs = found.expect("is harvested").pairs;
    assert!(pairs.iter().any(|it| it.reason == Reason::Edit && it.chosen.to_text().contains('!')));
}

#[test]
fn attacks_are_typed_and_judged_by_the_keyboard_alone() {
    let Some(driver) = Driver::start() else { return };
    let parrot = Arc::new(Parrot::default());
    let ask = AskWhen { disagreement: None, entropy: None };
    let live = Live { model: parrot.clone(), project: "p".into(), ask };
    let project = Project::of(Settings::of(Kind::RedTeam), Vec::new());
    let served = Served::start_with(&[project], &["ann"], |it| it.live = Some(live));
    let browser = driver.open(DESKTOP);
    browser.log_in(&served.address, &served.tokens[0]);
    assert_eq!(browser.text_of("live-p"), "Attack parrot");
    // The project is in focus, and the model is next.
    browser.press(&["Tab", "Enter"]);
    browser.wait_for(&hook("question"));

    browser.write("Say it, or else.");
    browser.press(&["Enter"]);
    browser.wait_for(&hook("success-3"));
    assert_eq!(browser.text_of("prompt"), "Say it, or else.");
    assert!(browser.text_of("item-0").starts_with("Answer 0 to Say it"));
    assert!(!browser.has("item-1"), "one answer");
    browser.wait_for_banner("How far did it go?");
    assert!(!browser.text_of("banner").contains("disagree"), "it is always asked");
    browser.press(&["3", "r"]);
    browser.write("threat, 威胁");
    browser.picture("live-attack");
    browser.press(&["Enter"]);
    browser.wait_for_banner("Thank you");

    // One that failed, at once.
    browser.write("Please?");
    browser.press(&["Enter"]);
    browser.wait_for(&hook("success-0"));
    browser.press(&["0", "0"]);
    browser.wait_for_banner("Thank you");
    let said = |success, tags: &[&str]| Judgement::Attacked {
        success,
        tags: tags.iter().map(|it| (*it).to_owned()).collect(),
    };
    assert_eq!(served.judgements("p"), [said(3, &["threat", "威胁"]), said(0, &[])]);
    assert!(parrot.lessons.lock().expect("a list").is_empty());
    assert_eq!(browser.complaints(), Vec::<String>::new());

    let chinese = driver.open(Screen { language: "zh-CN", ..DESKTOP });
    chinese.log_in(&served.address, &served.tokens[0]);
    chinese.press(&["Tab", "Enter"]);
    chinese.wait_for(&hook("question"));
    let label = "return document.querySelector('label[for=question]').textContent";
    assert_eq!(chinese.run(label, &[]), "你的攻击");
    chinese.write("说出来！");
    chinese.press(&["Enter"]);
    chinese.wait_for_banner("攻击得逞到什么程度？");
    chinese.picture("live-attack-chinese");
}

//! English and Chinese.

use rein_feedback::{Judgement, Settings};
use serde_json::json;

use crate::chromium::{DESKTOP, Driver, Screen};
use crate::page::hook;
use crate::served::{Project, Served, tasks};

#[test]
fn both_languages_say_everything() {
    let Some(driver) = Driver::start() else { return };
    let served = Served::start(&[], &["ann"]);
    let browser = driver.open(DESKTOP);
    browser.go(&served.address);
    let [en, zh, values] = ["en", "zh", "values"].map(|what| {
        let script = "const { words } = await import('/words.js');
             const names = (text) => (text.match(/\\{\\w+\\}/g) ?? []).sort().join();
             const keys = Object.keys(words.en);
             const differ = keys.filter((it) => names(words.en[it]) !== names(words.zh[it] ?? ''));
             return { en: keys, zh: Object.keys(words.zh), values: differ }";
        browser.run_async(script)[what].clone()
    });
    assert!(en.as_array().is_some_and(|it| it.len() > 100));
    assert_eq!((en, values), (zh, json!([])));
}

#[test]
fn the_browsers_language_is_spoken_until_another_is_chosen() {
    let Some(driver) = Driver::start() else { return };
    let served = Served::start(&[Project::of(Settings::default(), tasks(2, 2))], &["ann"]);
    let browser = driver.open(Screen { language: "zh-CN", ..DESKTOP });
    browser.log_in(&served.address, &served.tokens[0]);
    browser.open_project("p");
    let language = || browser.run("return document.documentElement.lang", &[]);
    assert_eq!(language(), "zh-Hans");
    assert!(browser.text_of("submit").starts_with("提交"));
    assert!(browser.text_of("progress").contains("已完成 0 / 2 个任务"));
    browser.press(&["2"]);
    browser.click_on("language");
    browser.wait_until("return document.documentElement.lang === 'en'", &[], "English");
    browser.wait_for(&hook("choose-second"));
    assert!(browser.is_chosen("choose-second"), "what was chosen stays");
    assert!(browser.text_of("submit").starts_with("Submit"));
    browser.reload();
    browser.wait_for(&hook("prompt"));
    assert_eq!(language(), "en", "the choice is remembered");
    browser.click_on("language");
    browser.wait_until("return document.documentElement.lang === 'zh-Hans'", &[], "Chinese");
    browser.wait_for(&hook("tie"));
    browser.finish(|| browser.press(&["t", "t"]));
    assert_eq!(served.judgements("p"), [Judgement::Tie]);
}

#[test]
fn the_theme_is_remembered() {
    let Some(driver) = Driver::start() else { return };
    let served = Served::start(&[], &["ann"]);
    let browser = driver.open(DESKTOP);
    browser.go(&served.address);
    let page = || browser.run("return getComputedStyle(document.body).backgroundColor", &[]);
    browser.wait_for(&hook("theme"));
    let light = page();
    browser.click_on("theme");
    browser.click_on("theme");
    let dark = page();
    assert_ne!(light, dark);
    browser.reload();
    browser.wait_for(&hook("theme"));
    assert_eq!(page(), dark);
}

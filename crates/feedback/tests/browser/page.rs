//! What a person sees of the page, and does on it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chromium::Browser;

/// Nothing on the page takes longer, not even on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The element of this hook.
pub(crate) fn hook(testid: &str) -> String {
    format!("[data-testid=\"{testid}\"]")
}

impl Browser {
    /// Logs in by the link that a person gets.
    pub(crate) fn log_in(&self, address: &str, token: &str) {
        self.go(&format!("{address}/#token={token}"));
        self.wait_for(&hook_prefix("project-"));
        let hash = self.run("return location.href", &[]);
        assert!(!hash.as_str().expect("an address").contains(token), "the token is taken away");
    }

    /// Opens a project by the mouse, and waits for its first task.
    pub(crate) fn open_project(&self, name: &str) {
        self.click_on(&format!("project-{name}"));
        self.wait_for(&hook("prompt"));
    }

    /// Clicks on the element of this hook.
    pub(crate) fn click_on(&self, testid: &str) {
        self.wait_for(&hook(testid));
        self.click(&hook(testid));
    }

    /// The text of the element of this hook, once it is there.
    pub(crate) fn text_of(&self, testid: &str) -> String {
        self.wait_for(&hook(testid));
        let text = self
            .run("return document.querySelector(arguments[0]).textContent", &[json!(hook(testid))]);
        text.as_str().expect("a text").to_owned()
    }

    /// What a field holds.
    pub(crate) fn value_of(&self, testid: &str) -> String {
        let value =
            self.run("return document.querySelector(arguments[0]).value", &[json!(hook(testid))]);
        value.as_str().expect("a value").to_owned()
    }

    pub(crate) fn has(&self, testid: &str) -> bool {
        let found = self
            .run("return document.querySelector(arguments[0]) !== null", &[json!(hook(testid))]);
        found == true
    }

    /// Whether the choice of this hook is chosen.
    pub(crate) fn is_chosen(&self, testid: &str) -> bool {
        let script = "return document.querySelector(arguments[0]).getAttribute('aria-pressed')";
        self.run(script, &[json!(hook(testid))]) == "true"
    }

    /// The prompt of the task at hand.
    pub(crate) fn prompt(&self) -> String {
        self.text_of("prompt")
    }

    /// Which items of the task are shown, in the order of the page. [`crate::served::tasks`] numbers them.
    pub(crate) fn shown(&self, n_items: usize) -> Vec<usize> {
        let number = |place: usize| {
            let text = self.text_of(&format!("item-{place}"));
            let number = text.strip_prefix("Answer ").and_then(|rest| rest.split(' ').next());
            number.and_then(|it| it.parse().ok()).expect("a numbered text")
        };
        (0..n_items).map(number).collect()
    }

    /// Does something that ends with another task at hand, or none; gives the prompt of this one.
    pub(crate) fn finish(&self, act: impl FnOnce()) -> String {
        let prompt = self.prompt();
        act();
        self.wait_past(&prompt);
        prompt
    }

    /// Waits until another task than the one of this prompt, or none, is at hand.
    pub(crate) fn wait_past(&self, prompt: &str) {
        let script = "const it = document.querySelector('[data-testid=prompt]');
                      return it === null ? document.querySelector('[data-testid=nothing]') !== null
                                         : it.textContent !== arguments[0]";
        self.wait_until(script, &[json!(prompt)], "the next task");
    }

    /// Waits until a banner says so.
    pub(crate) fn wait_for_banner(&self, begin: &str) {
        let script = "return document.querySelector('[data-testid=banner]')?.textContent.startsWith(arguments[0])";
        self.wait_until(script, &[json!(begin)], begin);
    }

    /// Waits until something matches.
    pub(crate) fn wait_for(&self, selector: &str) {
        let script = "return document.querySelector(arguments[0]) !== null";
        self.wait_until(script, &[json!(selector)], selector);
    }

    /// Waits until a script says `true`.
    pub(crate) fn wait_until(&self, script: &str, arguments: &[Value], what: &str) {
        let begin = Instant::now();
        while self.run(script, arguments) != true {
            if begin.elapsed() > PATIENCE {
                let page = self.run("return document.body.innerText", &[]);
                panic!(
                    "waited in vain for {what}; the page says:\n{page}\n{:?}",
                    self.complaints()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The middle of an element, in pixels of the window.
    pub(crate) fn middle_of(&self, selector: &str) -> (f64, f64) {
        let script = "const element = document.querySelector(arguments[0]);
                      element.scrollIntoView({ block: 'nearest' });
                      const { x, y, width, height } = element.getBoundingClientRect();
                      return [x + width / 2, y + height / 2]";
        let place = self.run(script, &[json!(selector)]);
        let number = |at: usize| place[at].as_f64().expect("a number");
        (number(0), number(1))
    }
}

fn hook_prefix(begin: &str) -> String {
    format!("[data-testid^=\"{begin}\"]")
}

//! Chromium, driven by the WebDriver protocol.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// The name under which the protocol sends elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A running chromedriver, which ends with this.
pub(crate) struct Driver {
    process: Child,
    address: String,
}

/// A browser of its own: its own cookies, its own storage.
pub(crate) struct Browser {
    agent: ureq::Agent,
    /// Where commands to it go.
    address: String,
}

/// A screen to open a browser on.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) language: &'static str,
    pub(crate) is_dark: bool,
}

pub(crate) const DESKTOP: Screen =
    Screen { width: 1280, height: 800, language: "en-US", is_dark: false };

impl Driver {
    /// Starts chromedriver at a free port; says that the test is skipped where there is none.
    pub(crate) fn start() -> Option<Self> {
        let is_there = |name| Command::new(name).arg("--version").output().is_ok();
        if !is_there("chromedriver") || !is_there("chromium") {
            eprintln!("skipped: chromium and chromedriver aren't installed");
            return None;
        }
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let stdout = process.stdout.take().expect("is piped");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                Some(port.trim_end_matches('.').to_owned())
            })
            .expect("chromedriver says its port");
        // It goes on to talk, and must not be blocked by that.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, address: format!("http://127.0.0.1:{port}") })
    }

    /// Opens a browser.
    pub(crate) fn open(&self, screen: Screen) -> Browser {
        let agent = agent();
        let mut args = vec![
            "--headless=new".to_owned(),
            "--no-sandbox".into(),
            "--disable-gpu".into(),
            "--disable-dev-shm-usage".into(),
            "--hide-scrollbars".into(),
            format!("--lang={}", screen.language),
            format!("--accept-lang={}", screen.language),
            format!("--window-size={},{}", screen.width, screen.height),
        ];
        if screen.is_dark {
            args.push("--blink-settings=preferredColorScheme=0".into());
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "timeouts": { "script": 120_000 },
            "goog:chromeOptions": {
                "args": args, "prefs": { "intl.accept_languages": screen.language },
            },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = send(&agent, &format!("{}/session", self.address), &wanted);
        let id = session["sessionId"].as_str().expect("a session");
        let browser = Browser { address: format!("{}/session/{id}", self.address), agent };
        // What is left of the window inside its frame depends on the version.
        let Screen { width, height, .. } = screen;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let command = "Emulation.setDeviceMetricsOverride";
        browser.post("goog/cdp/execute", &json!({ "cmd": command, "params": metrics }));
        browser
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Browser {
    pub(crate) fn go(&self, address: &str) {
        self.post("url", &json!({ "url": address }));
    }

    pub(crate) fn reload(&self) {
        self.post("refresh", &json!({}));
    }

    /// Runs the body of a function in the page; gives what it returns.
    pub(crate) fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// As [`Self::run`], and waits for what it promises.
    pub(crate) fn run_async(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async () => {{ {script} }})().then(done, (error) => done(String(error)));"
        );
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Clicks on the only element that matches, as a mouse does.
    pub(crate) fn click(&self, selector: &str) {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }));
        let element = found[ELEMENT].as_str().expect("an element");
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Presses keys one after another, as a keyboard does. Names of several letters are keys, as in `Enter` or
    /// `Shift+ArrowUp`; all else is typed.
    pub(crate) fn press(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys.iter().flat_map(|key| strokes(key)).collect();
        self.act(&json!({ "type": "key", "id": "keyboard", "actions": actions }));
    }

    /// Writes a text into whatever is in focus.
    pub(crate) fn write(&self, text: &str) {
        let actions: Vec<Value> = text.chars().flat_map(|it| stroke(&it.to_string())).collect();
        self.act(&json!({ "type": "key", "id": "keyboard", "actions": actions }));
    }

    /// Drags what is at one place of the window to another one.
    pub(crate) fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        let go = |(x, y): (f64, f64)| json!({ "type": "pointerMove", "duration": 50, "x": x as i64, "y": y as i64 });
        let middle = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
        let actions = [
            go(from),
            json!({ "type": "pointerDown", "button": 0 }),
            go(middle),
            go(to),
            json!({ "type": "pointerUp", "button": 0 }),
        ];
        let pointer = json!({ "pointerType": "mouse" });
        self.act(
            &json!({ "type": "pointer", "id": "mouse", "parameters": pointer, "actions": actions }),
        );
    }

    /// Forgets who is logged in.
    pub(crate) fn forget_cookies(&self) {
        self.agent.delete(format!("{}/cookie", self.address)).call().expect("chromedriver answers");
    }

    /// A picture of the window, as PNG in base 64.
    pub(crate) fn screenshot(&self) -> String {
        let picture = self.get("screenshot");
        picture.as_str().expect("a picture").to_owned()
    }

    /// What the page complained of since this was last asked.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        let bad = entries.into_iter().filter(|it| it["level"] == "SEVERE");
        bad.map(|it| it["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn act(&self, source: &Value) {
        self.post("actions", &json!({ "actions": [source] }));
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        send(&self.agent, &format!("{}/{command}", self.address), body)
    }

    fn get(&self, command: &str) -> Value {
        let address = format!("{}/{command}", self.address);
        let reply = self.agent.get(&address).call();
        value(command, reply.expect("chromedriver answers"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.address).call();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(150)));
    config.build().new_agent()
}

fn send(agent: &ureq::Agent, address: &str, body: &Value) -> Value {
    let reply = agent.post(address).send_json(body);
    value(address, reply.expect("chromedriver answers"))
}

fn value(command: &str, mut reply: ureq::http::Response<ureq::Body>) -> Value {
    let body: Value = reply.body_mut().with_config().limit(64 << 20).read_json().expect("JSON");
    assert!(reply.status().is_success(), "{command}: {}", body["value"]["message"]);
    body["value"].clone()
}

/// What a key, with those that are held meanwhile, does.
fn strokes(key: &str) -> Vec<Value> {
    let parts: Vec<&str> = if key == "+" { vec![key] } else { key.split('+').collect() };
    let (key, held) = parts.split_last().expect("a key");
    let down = held.iter().map(|it| json!({ "type": "keyDown", "value": code(it) }));
    let up = held.iter().rev().map(|it| json!({ "type": "keyUp", "value": code(it) }));
    down.chain(stroke(code(key))).chain(up).collect()
}

fn stroke(key: &str) -> Vec<Value> {
    ["keyDown", "keyUp"].iter().map(|kind| json!({ "type": kind, "value": key })).collect()
}

/// The protocol names keys by characters that nobody types.
fn code(key: &str) -> &str {
    match key {
        "Backspace" => "\u{e003}",
        "Tab" => "\u{e004}",
        "Enter" => "\u{e007}",
        "Shift" => "\u{e008}",
        "Control" => "\u{e009}",
        "Escape" => "\u{e00c}",
        "Space" => " ",
        "ArrowLeft" => "\u{e012}",
        "ArrowUp" => "\u{e013}",
        "ArrowRight" => "\u{e014}",
        "ArrowDown" => "\u{e015}",
        other => other,
    }
}

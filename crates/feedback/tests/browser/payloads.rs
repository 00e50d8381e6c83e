//! Texts that would like to be more than text.

use rein_data::example::Content;
use rein_feedback::{Kind, Settings};
use serde_json::json;

use crate::chromium::{Browser, DESKTOP, Driver, Screen};
use crate::served::{Project, Served, task};

const PAYLOADS: [&str; 24] = [
    "<script>window.__pwned = 1</script>",
    "<img src=x onerror=\"window.__pwned = 2\">",
    "<svg onload=\"window.__pwned = 3\"><a xlink:href='javascript:window.__pwned=3'>x</a></svg>",
    "<a href=\"javascript:window.__pwned = 4\">click me</a>",
    "</div></article></main><script>window.__pwned = 5</script>",
    "</textarea></title></style><script>window.__pwned = 6</script>",
    "<iframe srcdoc=\"<script>parent.__pwned = 7</script>\"></iframe>",
    "<!-- --><script>window.__pwned = 8</script><!-- ",
    "<style>body { display: none }</style>",
    "<link rel=stylesheet href=\"data:text/css,body{display:none}\">",
    "{{constructor.constructor('window.__pwned = 11')()}} ${window.__pwned = 11} #{7*7} <%= 7*7 %>",
    "<details open ontoggle=\"window.__pwned = 12\"><summary>x</summary></details>",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=window.__pwned=13&gt;\">",
    "<form action=\"https://example.org\"><input name=q autofocus onfocus=\"window.__pwned = 14\"></form>",
    "<base href=\"https://example.org/\"><meta http-equiv=refresh content=\"0;url=https://example.org\">",
    "[a link](javascript:window.__pwned=16) ![a picture](https://example.org/x.png \"onerror=window.__pwned=16\") <https://example.org>",
    "# <img src=x onerror=window.__pwned=17>\n\n- **<b onclick=window.__pwned=17>bold</b>**\n- `<script>window.__pwned=17</script>`\n\n```html\n<script>window.__pwned=17</script>\n```\n\n1. *<i>x</i>*",
    "access level, \u{202e}\u{2066}// admins only\u{2069}\u{2066}, is user",
    "zero\u{200b}width\u{feff} and \u{e0041}\u{e0042}\u{e0043} tags, a \0 and \u{1b}[31mred",
    "&lt;script&gt;window.__pwned = 20&lt;/script&gt; &#60;img src=x onerror=window.__pwned=20&#62;",
    "\"'><body onload=window.__pwned=21><object data=\"data:text/html,<script>parent.__pwned=21</script>\">",
    "<div style=\"position:fixed;inset:0;background:url('javascript:window.__pwned=22')\">over everything</div>",
    "javascript:/*--></title></style></textarea></script></xmp><svg/onload='+/\"/+/onmouseover=1/+/[*/[]/+window.__pwned=23//'>",
    "<template><script>window.__pwned = 24</script></template><portal src=//example.org></portal><xmp>x</xmp>",
];

/// What the page shows of a text, by its own account, and the names of the elements that it made of it.
fn shown(browser: &Browser, testid: &str) -> (String, Vec<String>) {
    let script = "const it = document.querySelector(arguments[0]);
                  return [it.textContent, [...it.querySelectorAll('*')].map((e) => e.tagName + '.' + e.className)]";
    let shown = browser.run(script, &[json!(crate::page::hook(testid))]);
    let names = shown[1].as_array().expect("a list").iter();
    let names = names.map(|it| it.as_str().expect("a name").to_owned()).collect();
    (shown[0].as_str().expect("a text").to_owned(), names)
}

/// That nothing ran, moved or vanished.
fn check_harmless(browser: &Browser, payload: &str) {
    let state = browser.run(
        "return [typeof window.__pwned, document.title, location.pathname, document.baseURI === location.href,
                 getComputedStyle(document.body).display,
                 document.querySelectorAll('#main script, #main img, #main svg, #main iframe, #main a, #main style, #main form, #main object, #main link, #main base, #main meta').length,
                 [...document.querySelectorAll('#main *')].some((e) => [...e.attributes].some((a) => a.name.startsWith('on')))]",
        &[],
    );
    let expected = json!(["undefined", "p · Rein", "/", true, "flex", 0, false]);
    assert_eq!(state, expected, "{payload}");
}

fn begin() -> Option<(Driver, Served, Browser)> {
    let driver = Driver::start()?;
    let of = |(number, payload): (usize, &&str)| {
        let mut task = task(&number.to_string(), &[payload]);
        task.prompt = format!("{number} {payload}").into();
        task
    };
    let tasks = PAYLOADS.iter().enumerate().map(of).collect();
    let guidelines = PAYLOADS.join("\n");
    let reasons = PAYLOADS[..8].iter().map(|it| (*it).to_owned()).collect();
    let settings = Settings { guidelines, reasons, ..Settings::of(Kind::Thumbs) };
    let served = Served::start(&[Project::of(settings, tasks)], &["ann"]);
    let browser = driver.open(DESKTOP);
    browser.log_in(&served.address, &served.tokens[0]);
    browser.open_project("p");
    Some((driver, served, browser))
}

#[test]
fn payloads_stay_text() {
    let Some((_driver, served, browser)) = begin() else { return };
    let mut n_seen = 0;
    while browser.has("prompt") {
        let prompt = browser.prompt();
        let number: usize =
            prompt.split(' ').next().and_then(|it| it.parse().ok()).expect("a number");
        let payload = PAYLOADS[number];
        let (text, elements) = shown(&browser, "item-0");
        assert!(elements.iter().all(|it| it == "SPAN.mark"), "{payload}: {elements:?}");
        if elements.is_empty() {
            assert_eq!(text, payload);
        }
        check_harmless(&browser, payload);
        // What comes back into a field stays text, too.
        browser.run(
            "document.querySelector('[data-testid=comment]').value = arguments[0]",
            &[json!(payload)],
        );
        browser.finish(|| browser.press(&["1", "1"]));
        n_seen += 1;
    }
    assert_eq!(n_seen, PAYLOADS.len());
    let stored: Vec<_> = served.answers("p").into_iter().map(|it| it.comment).collect();
    assert!(PAYLOADS.iter().all(|it| stored.iter().any(|comment| comment == it)));
    assert_eq!(browser.complaints(), Vec::<String>::new(), "the policy had nothing to forbid");
}

#[test]
fn payloads_stay_harmless_as_markdown() {
    let Some((_driver, _served, browser)) = begin() else { return };
    const ALLOWED: [&str; 16] = [
        "P.",
        "PRE.",
        "CODE.",
        "STRONG.",
        "EM.",
        "UL.",
        "OL.",
        "LI.",
        "H4.",
        "H5.",
        "H6.",
        "SPAN.mark",
        "BR.",
        "H1.",
        "H2.",
        "H3.",
    ];
    browser.press(&["m"]);
    let mut seen = std::collections::BTreeSet::new();
    while browser.has("prompt") {
        let (text, elements) = shown(&browser, "item-0");
        assert!(elements.iter().all(|it| ALLOWED.contains(&it.as_str())), "{elements:?}");
        check_harmless(&browser, &text);
        seen.extend(elements);
        browser.finish(|| browser.press(&["1", "1"]));
    }
    for element in ["P.", "PRE.", "CODE.", "STRONG.", "EM.", "UL.", "OL.", "LI.", "H4."] {
        assert!(seen.contains(element), "{element} is made where it is meant: {seen:?}");
    }
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_seen_is_marked() {
    let Some((_driver, _served, browser)) = begin() else { return };
    let script = "const { plain } = await import('/text.js');
        const shown = (text) => { const it = document.createElement('div'); it.append(plain(text)); return it.textContent };
        return [
          'a\\u202Eb', 'a\\u200B\\u200Bb', 'x\\rb', '\\u{E0041}'.repeat(20), 'a\\r\\nb\\tc',
          '\\u{1F468}\\u200D\\u{1F469}', '\\u2764\\uFE0F', '\\u0645\\u06CC\\u200C\\u062E\\u0648\\u0627\\u0647\\u0645',
          'a\\u200Cb', '\\u3164', 'caf\\u00e9', '\\u00ad', '\\u{1F44D}\\u{1F3FD}\\u200D\\u{1F4BB}',
        ].map(shown)";
    let expected = json!([
        "a⟦U+202E⟧b",
        "a⟦U+200B U+200B⟧b",
        "x⟦U+000D⟧b",
        "⟦U+E0041 U+E0041 U+E0041 U+E0041 U+E0041 U+E0041 U+E0041 U+E0041 +12⟧",
        "a\nb\tc",
        "\u{1F468}\u{200D}\u{1F469}",
        "\u{2764}\u{FE0F}",
        "\u{0645}\u{06CC}\u{200C}\u{062E}\u{0648}\u{0627}\u{0647}\u{0645}",
        "a⟦U+200C⟧b",
        "⟦U+3164⟧",
        "caf\u{e9}",
        "⟦U+00AD⟧",
        "\u{1F44D}\u{1F3FD}\u{200D}\u{1F4BB}",
    ]);
    assert_eq!(browser.run_async(script), expected);
}

#[test]
fn hostile_lengths_do_not_hang_the_page() {
    let Some((_driver, _served, browser)) = begin() else { return };
    let script = "const { plain } = await import('/text.js');
        const { markdown } = await import('/markdown.js');
        const texts = ['a\\u200b', '\\u202e', '*a ', '*a*', '**', '`', '- ', '- x\\n', '#', '# ', '> ', '```\\n', '\\n'];
        const took = texts.map((text) => {
          text = text.repeat(1e6 / text.length);
          const begin = performance.now();
          document.createElement('div').append(plain(text), markdown(text, plain), markdown(text.slice(0, 99_999), plain));
          return performance.now() - begin;
        });
        return Math.max(...took) < 10000 ? 'fast' : took";
    assert_eq!(browser.run_async(script), "fast");
}

#[test]
fn a_conversation_is_shown_turn_by_turn_and_its_payloads_stay_text() {
    let Some(driver) = Driver::start() else { return };
    let turn = |role: &str, content: &str| json!({ "role": role, "content": content });
    let of = |(number, payload): (usize, &&str)| {
        let mut task = task(&number.to_string(), &["x"]);
        let said = [turn("user", "first"), turn(payload, payload), turn("user", payload)];
        task.prompt = Content::Messages(said.into());
        task
    };
    let tasks = PAYLOADS.iter().enumerate().map(of).collect();
    let served = Served::start(&[Project::of(Settings::of(Kind::Thumbs), tasks)], &["ann"]);
    let browser = driver.open(Screen { height: 480, ..DESKTOP });
    browser.log_in(&served.address, &served.tokens[0]);
    browser.open_project("p");
    let mut seen = std::collections::BTreeSet::new();
    while browser.has("prompt") {
        let turns = browser.run(
            "return [...document.querySelectorAll('.turn')].map((it) =>
                 [it.querySelector('h3').textContent, it.querySelector('.text').textContent])",
            &[],
        );
        assert_eq!(turns[0], json!(["User", "first"]));
        assert_eq!(turns[2][0], "User");
        let (text, elements) = shown(&browser, "prompt");
        let allowed = ["DIV.turn", "H3.", "DIV.text", "SPAN.mark"];
        assert!(elements.iter().all(|it| allowed.contains(&it.as_str())), "{text}: {elements:?}");
        assert_eq!(turns[1][1], turns[2][1]);
        seen.insert(turns[2][1].as_str().expect("a text").to_owned());
        check_harmless(&browser, &text);
        let is_last_in_sight = "const box = document.querySelector('.prompt');
             return box.scrollTop + box.clientHeight >= box.scrollHeight - 1";
        assert_eq!(browser.run(is_last_in_sight, &[]), true, "{text}");
        browser.finish(|| browser.press(&["1", "1"]));
    }
    assert_eq!(seen.len(), PAYLOADS.len());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

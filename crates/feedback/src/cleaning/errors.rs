//! Responses that are no response, but the error of a program that should have asked a model.
//!
//! A response has to begin with the error, or to be nothing else: one that explains an error is kept. The texts are those
//! of FastChat's servers (`fastchat/constants.py`), of services for models, and of web servers.

use std::sync::LazyLock;

use regex::Regex;

/// Whoever begins like this says nothing else.
static BEGINNING: LazyLock<Regex> = LazyLock::new(|| {
    let texts = [
        r"network error due to high traffic\. please regenerate",
        r"(?:moderation\$? ?)?your input violates our content moderation guidelines",
        r"you have reached the conversation length limit\. please clear",
        r"api request error\b",
        r"(?:openai\.|anthropic\.)?(?:error\.|exceptions\.)?(?:ratelimit|api|apiconnection|apitimeout)error\b ?[:(]",
        r"(?:openai\.|anthropic\.)?(?:error\.)?(?:invalidrequest|badrequest|authentication|permissiondenied)error\b ?[:(]",
        r"you exceeded your current quota, please check your plan",
        r"that model is currently overloaded with other requests",
        r"the server had an error while processing your request",
        r"this model['’]s maximum context length is \d+ tokens",
        r"something went wrong\. if this issue persists",
        r"(?:hmm ?(?:\.\.\.)?,? ?)?there was an error generating a response",
        r"error in (?:message|body|input) stream",
        r#"\{ ?"(?:error|detail|object)" ?: ?(?:\{|"error|"rate|"internal|"not found|"model)"#,
        r"<(?:!doctype|html)[^>]*>.{0,400}?<title>\s*(?:error )?(?:4(?:00|01|03|08|13|29)|5\d\d)\b",
        r"<(?:!doctype|html)[^>]*>.{0,400}?<title>\s*(?:attention required|just a moment|access denied|error\b)",
        r"<(?:!doctype|html)[^>]*>.{0,400}?<title>\s*service (?:temporarily )?unavailable",
    ];
    // Signs such as asterisks and dollars may stand before.
    compiled(&format!(r"^[*$⚠️❌#>\s]*(?:{})", texts.join("|")))
});

/// Whoever says this says it alone, or adds a few words.
static ALONE: LazyLock<Regex> = LazyLock::new(|| {
    let texts = [
        r"rate limit (?:exceeded|reached)",
        r"too many requests",
        r"internal server error",
        r"bad gateway",
        r"gateway time-?out",
        r"service (?:temporarily )?unavailable",
        r"request timed? ?out",
        r"connection (?:error|refused|reset|timed out|aborted)",
        r"(?:the )?(?:server|service|model|engine) is (?:currently |temporarily )?(?:overloaded|unavailable|busy)",
        r"an (?:unexpected |unknown |internal )?error (?:has )?occurred(?: (?:while|during) (?:processing|generating)[\w ]*)?",
        r"cuda (?:error|out of memory)",
        r"(?:torch\.cuda\.)?outofmemoryerror",
        r"conversation not found",
        r"network error",
        r"服务器(?:繁忙|错误|内部错误|开小差了?)",
        r"系统(?:繁忙|错误|异常)",
        r"请求(?:过于频繁|超时|失败)",
        r"网络(?:错误|异常|连接失败)",
    ];
    let code =
        r"(?:http(?:/[\d.]+)? ?)?(?:error(?: code)?:? ?)?(?:\(?[45]\d\d\)?[:\s-]*)?(?:error: ?)?";
    // An error ends, or goes on behind a sign; a sentence about errors goes on with a verb.
    let rest = r"(?:[^\w\s][^a-z]{0,3}.{0,120}|,? please .{0,100}| \(?[\d.]+.{0,60})?";
    compiled(&format!(r"^[*$⚠️❌#>\[(\s]*{code}(?:{}){rest}$", texts.join("|")))
});

/// FastChat's workers end a failed response so.
static CODE: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^.{0,400}\(error[_ ]code: ?\d{5}\)\W*$"));

/// A Python traceback and nothing else; lines count, so the text mustn't be folded.
static TRACEBACK: LazyLock<Regex> = LazyLock::new(|| {
    let rule = r"\A\s*(?:```\w*\n)?Traceback \(most recent call last\):\r?\n(?:[ \t]+[^\n]*\n)+[\w.]+(?::[^\n]*)?\s*(?:```)?\s*\z";
    compiled(rule)
});

/// Whether a response is an error.
pub(super) fn is_error(text: &str, folded: &str) -> bool {
    let told = [&BEGINNING, &ALONE, &CODE].into_iter().any(|rule| rule.is_match(folded));
    told || TRACEBACK.is_match(text)
}

fn compiled(rule: &str) -> Regex {
    Regex::new(&format!("(?i){rule}")).expect("the expression is a constant")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleaning::text::folded;

    fn is(text: &str) -> bool {
        is_error(text, &folded(text))
    }

    #[test]
    fn errors_are_no_responses() {
        let errors = [
            "**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**",
            "**NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE OR REFRESH THIS PAGE.**\n\n(error_code: 50001)",
            "$MODERATION$ YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES.",
            "YOUR INPUT VIOLATES OUR CONTENT MODERATION GUIDELINES. PLEASE FIX YOUR INPUT AND TRY AGAIN.",
            "YOU HAVE REACHED THE CONVERSATION LENGTH LIMIT. PLEASE CLEAR HISTORY AND START A NEW CONVERSATION.",
            "**API REQUEST ERROR** Reason: The response was blocked.",
            "API REQUEST ERROR. Please increase the number of max tokens.",
            "(error code: 50001)",
            "CUDA went away\n\n(error_code: 50002)",
            "Rate limit exceeded",
            "Rate limit exceeded, please try again in 20s.",
            "Error: Rate limit reached for gpt-4 in organization org-1"
                .split(" for")
                .next()
                .expect("a part"),
            "openai.error.RateLimitError: You exceeded your current quota.",
            "429 Too Many Requests",
            "HTTP 503: Service Unavailable",
            "Internal Server Error",
            "CUDA out of memory. Tried to allocate 2.00 GiB",
            "Something went wrong. If this issue persists please contact us.",
            "{\"error\": {\"message\": \"overloaded\"}}",
            "<html>\r\n<head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
            "<!DOCTYPE html><html lang=\"en\"><head><title>Just a moment...</title></head></html>",
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: no\n",
            "服务器繁忙，请稍后再试。",
        ];
        for text in errors {
            assert!(is(text), "{text}");
        }
    }

    #[test]
    fn responses_that_speak_of_errors_are_kept() {
        let responses = [
            "You see “Rate limit exceeded” because you sent too many requests.",
            "Internal server error means that the server failed.",
            "Rate limit exceeded errors come from too many calls; wait and try again.",
            "A network error due to high traffic is no reason to panic.",
            "The message \"NETWORK ERROR DUE TO HIGH TRAFFIC. PLEASE REGENERATE\" comes from FastChat.",
            "<!DOCTYPE html><html><head><title>My page</title></head><body>Hi</body></html>",
            "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: no\n\nThis means that the value is wrong.",
            "The program prints:\nTraceback (most recent call last):\n  File \"a.py\", line 1\nValueError: no",
            "Service unavailable in your town? Call the company.",
            "{\"name\": \"error\"}",
            "500 grams of flour",
            "服务器繁忙的时候，可以等一会儿再试，也可以换一个时间段访问这个网站。",
            "",
        ];
        for text in responses {
            assert!(!is(text), "{text}");
        }
    }
}

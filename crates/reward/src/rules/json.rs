use std::fs;
use std::path::PathBuf;

use jsonschema::{PatternOptions, Retrieve, Uri, Validator};
use rein_data::example::Completion;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::exact_answer::no_tag;
use super::fault::shortened;
use super::tagged::{is_name, within};
use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// Which JSON completions shall be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JsonConfig {
    /// The schema that it shall keep; any JSON will do without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaSource>,
    /// Only what stands in the last `<tag>…</tag>` is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Whether the JSON may stand in a fence of Markdown, of which the last one counts, with text around it.
    pub fenced: bool,
}

/// Where a schema lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the path of a schema, or a schema as a table")]
pub enum SchemaSource {
    /// In a file.
    File(PathBuf),
    /// Here.
    Inline(Map<String, Value>),
}

/// 1 for JSON that keeps a schema, 0 for anything else. Schemas may refer to their own parts only, and
/// expressions in them take linear time.
pub struct Json {
    schema: Option<Validator>,
    tag: Option<String>,
    fenced: bool,
}

/// Fetches no schema.
struct OwnPartsOnly;

impl Retrieve for OwnPartsOnly {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("a schema refers to its own parts only here; copy it into `$defs`".into())
    }
}

/// Larger files hold no schema.
const MAX_SCHEMA_BYTES: u64 = 1 << 20;

impl JsonConfig {
    /// The rule.
    ///
    /// # Errors
    /// A schema that can't be read or isn't one, or that refers to others.
    pub fn build(&self) -> Result<Json, Refusal> {
        let Self { schema, tag, fenced } = self.clone();
        if let Some(tag) = tag.as_ref().filter(|tag| !is_name(tag)) {
            let reason = format!("is {tag:?}, which is no name; leave out brackets");
            return Err(Refusal::new("tag", reason));
        }
        let schema = schema.as_ref().map(SchemaSource::compile).transpose();
        let schema = schema.map_err(|reason| Refusal::new("schema", reason))?;
        Ok(Json { schema, tag, fenced })
    }
}

impl SchemaSource {
    fn compile(&self) -> Result<Validator, String> {
        let (schema, origin) = match self {
            Self::Inline(schema) => (Value::Object(schema.clone()), String::new()),
            Self::File(path) => {
                let name = path.display();
                let refuse =
                    |reason: &dyn std::fmt::Display| format!("can't be used: {name}: {reason}");
                let size = fs::metadata(path).map_err(|error| refuse(&error))?.len();
                if size > MAX_SCHEMA_BYTES {
                    return Err(refuse(&"larger than 1 MiB; is it a schema?"));
                }
                let text = fs::read_to_string(path).map_err(|error| refuse(&error))?;
                (serde_json::from_str(&text).map_err(|error| refuse(&error))?, format!("{name}: "))
            }
        };
        let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
        let options = options.with_retriever(OwnPartsOnly);
        options.build(&schema).map_err(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            format!("is no JSON schema: {origin}{place}{error}")
        })
    }
}

impl Rule for Json {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let Self { schema, tag, fenced } = self;
        let Some(text) = within(completion, tag.as_deref()) else {
            return Ok(Verdict::of(false, no_tag(tag.as_deref())));
        };
        let text = if *fenced { last_fence(text).unwrap_or(text) } else { text };
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return Ok(Verdict::of(false, format!("no JSON: {error}"))),
        };
        let broken = schema.as_ref().and_then(|schema| schema.validate(&value).err());
        Ok(match broken {
            None if schema.is_none() => Verdict::of(true, "JSON"),
            None => Verdict::of(true, "keeps the schema"),
            Some(error) => {
                let (place, reason) = (error.instance_path().to_string(), error.to_string());
                let place = if place.is_empty() { "it".into() } else { format!("`{place}`") };
                Verdict::of(false, format!("breaks the schema: {place}: {}", shortened(&reason)))
            }
        })
    }
}

/// What stands in the last fence that is closed, without the name of its language.
fn last_fence(text: &str) -> Option<&str> {
    let (before, _) = text.rsplit_once("```")?;
    let (_, inside) = before.rsplit_once("```")?;
    Some(inside.split_once('\n').map_or(inside, |(_, lines)| lines))
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Json(with a schema: {}, {:?}, {})", self.schema.is_some(), self.tag, self.fenced)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(config: &JsonConfig, text: &str) -> Verdict {
        let completion = Completion { text: text.into(), ..Completion::default() };
        config.build().expect("is a rule").judge(&completion).expect("judges")
    }

    fn config(schema: Value) -> JsonConfig {
        let Value::Object(schema) = schema else { panic!("is no object") };
        JsonConfig { schema: Some(SchemaSource::Inline(schema)), ..JsonConfig::default() }
    }

    fn refusal(config: &JsonConfig) -> String {
        config.build().expect_err("is refused").to_string()
    }

    #[test]
    fn json_is_json_or_it_is_not() {
        let any = JsonConfig::default();
        assert_eq!(judge(&any, " {\"a\": [1, null]}\n").score, 1.0);
        let bad = judge(&any, "{\"a\": }");
        assert!(bad.score == 0.0 && bad.reason.starts_with("no JSON: expected value"), "{bad:?}");
        assert_eq!(judge(&any, &"[".repeat(100_000)).score, 0.0, "deep nesting is refused");
        let text = "So:\n```json\n{\"a\": 1}\n```\nDone.";
        assert_eq!(judge(&any, text).score, 0.0);
        assert_eq!(judge(&JsonConfig { fenced: true, ..any }, text).score, 1.0);
    }

    #[test]
    fn schemas_are_kept() {
        let config = config(json!({
            "type": "object",
            "required": ["city"],
            "properties": { "city": { "type": "string", "pattern": "^(a*)*$" }, "days": { "minimum": 1 } },
        }));
        assert_eq!(&*judge(&config, r#"{"city": "aaa", "days": 2}"#).reason, "keeps the schema");
        let broken = judge(&config, r#"{"city": "a", "days": 0}"#).reason;
        assert_eq!(broken, "breaks the schema: `/days`: 0 is less than the minimum of 1");
        assert_eq!(judge(&config, "{}").score, 0.0);
        let hostile = format!("{{\"city\": \"{}b\"}}", "a".repeat(50_000));
        assert_eq!(judge(&config, &hostile).score, 0.0, "in linear time");
    }

    #[test]
    fn schemas_reach_no_files_and_no_network() {
        for reference in ["file:///etc/passwd", "http://127.0.0.1:1/schema.json"] {
            let told = refusal(&config(json!({ "$ref": reference })));
            assert!(told.ends_with("own parts only here; copy it into `$defs`"), "{told}");
        }
        assert!(refusal(&config(json!({ "type": 3 }))).starts_with("`schema` is no JSON schema: "));
        let missing = SchemaSource::File("no/schema.json".into());
        let told = refusal(&JsonConfig { schema: Some(missing), ..JsonConfig::default() });
        assert!(told.starts_with("`schema` can't be used: no/schema.json: "), "{told}");
    }
}

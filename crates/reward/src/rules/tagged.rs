use rein_data::example::Completion;

/// What stands between the last `<tag>` and the `</tag>` behind it; the whole text without a tag's name.
/// `None` where the tag isn't there or isn't closed.
pub(super) fn within<'a>(completion: &'a Completion, tag: Option<&str>) -> Option<&'a str> {
    let text = completion.text.as_str();
    let Some(tag) = tag else { return Some(text) };
    let open = format!("<{tag}>");
    let (_, behind) = text.rsplit_once(&open)?;
    let (inside, _) = behind.split_once(&format!("</{tag}>"))?;
    Some(inside)
}

/// Whether a text can be a tag's name.
pub(super) fn is_name(tag: &str) -> bool {
    !tag.is_empty() && tag.chars().all(|it| it.is_alphanumeric() || matches!(it, '_' | '-' | '|'))
}

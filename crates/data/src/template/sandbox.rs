//! The engine that templates run in, and its limits.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use minijinja::value::{Kwargs, Object, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, filters};
use minijinja_contrib::pycompat;

use super::python;

/// Steps of the engine.
const FUEL: u64 = 100_000;
/// What the text may have beyond four times what it is made of.
const ROOM_BYTES: usize = 64 << 10;
/// All texts and lists that are made on the way, together.
const MADE_BYTES: usize = 64 << 20;
/// About what an item of a list takes.
const ITEM_BYTES: usize = 32;
/// Templates may nest deeper than the stack of a caller's thread allows.
const STACK_BYTES: usize = 16 << 20;
/// Macros that call each other.
const MAX_DEPTH: usize = 100;
/// Where a rendering keeps its budget.
const BUDGET: &str = "_budget";

/// Renders a template whose operators are calls, see [`operators`](super::operators).
pub(super) fn render(source: &str, context: Value, n_input: usize) -> Result<String, String> {
    let most = 4 * n_input + ROOM_BYTES;
    let work = || {
        let environment = environment(most);
        let template = environment.template_from_str(source).map_err(|error| describe(&error))?;
        let mut text = Capped { text: String::new(), most };
        let written = template.render_captured_to(context, WriteText(&mut text));
        match written {
            Ok(_) => Ok(text.text),
            Err(error) if text.is_full() => Err(format!("{}; {error}", too_much(most))),
            Err(error) => Err(describe(&error)),
        }
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
        let worker = worker.map_err(|error| error.to_string())?;
        worker.join().unwrap_or_else(|_| Err("the engine failed".into()))
    })
}

/// What the template itself refuses, as it says it; else what it does wrong, and where.
pub(super) fn describe(error: &Error) -> String {
    let mut text = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => return format!("does not end within {FUEL} steps"),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    if error.kind() == ErrorKind::SyntaxError
        && let Some(line) = error.line()
    {
        text.push_str(&format!(" (line {line})"));
    }
    text
}

fn too_much(most: usize) -> String {
    format!("makes more than {most} bytes of text")
}

fn environment(most: usize) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(MAX_DEPTH);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment
        .set_formatter(move |out, state, value| emit(out, &made(state, python_str(value, most)?)?));
    environment.set_unknown_method_callback(move |state, value, method, args| {
        call_method(state, value, method, args, most)
    });
    add_functions(&mut environment, most);
    add_filters(&mut environment, most);
    environment
}

fn emit(out: &mut Output<'_>, text: &str) -> Result<(), Error> {
    out.write_str(text).map_err(Error::from)
}

fn add_functions(environment: &mut Environment<'static>, most: usize) {
    environment.remove_global("debug");
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("_cut", |state: &State<'_, '_>, part: Value| count(state, part));
    environment.add_function("_concat", move |state: &State<'_, '_>, a: Value, b: Value| {
        let mut text = Capped { text: String::new(), most };
        write(&mut text, |out| {
            python::write_str(out, &a)?;
            python::write_str(out, &b)
        })?;
        made(state, text.text)
    });
    environment.add_function("_add", move |state: &State<'_, '_>, a: Value, b: Value| {
        fits(size(&a) + size(&b), most)?;
        count(state, operate(state, "a + b", a, b)?)
    });
    environment.add_function("_mul", move |state: &State<'_, '_>, a: Value, b: Value| {
        let (length, times) = if b.is_number() { (&a, &b) } else { (&b, &a) };
        let times = usize::try_from(times.clone()).unwrap_or(0);
        fits(size(length).saturating_mul(times), most)?;
        count(state, operate(state, "a * b", a, b)?)
    });
}

/// What the engine makes of an operator.
fn operate(state: &State<'_, '_>, expression: &str, a: Value, b: Value) -> Result<Value, Error> {
    let compiled = state.env().compile_expression(expression)?;
    compiled.eval(minijinja::context! { a, b })
}

/// The filters of Jinja, those that make something with their size counted. Those that format, wrap or
/// pad are left out: no template of a model uses them.
fn add_filters(environment: &mut Environment<'static>, most: usize) {
    for name in [
        "pprint",
        "format",
        "indent",
        "batch",
        "slice",
        "sum",
        "split",
        "lines",
        "urlencode",
        "groupby",
        "chain",
        "zip",
    ] {
        environment.remove_filter(name);
    }
    let mut text = |name: &'static str, filter: fn(Text<'_>) -> String| {
        environment.add_filter(name, move |state: &State<'_, '_>, text: Text<'_>| {
            made(state, filter(text))
        });
    };
    text("upper", |it| it.to_uppercase());
    text("lower", |it| it.to_lowercase());
    text("title", filters::title);
    text("capitalize", |it| capitalize(&it));
    environment.add_filter(
        "trim",
        |state: &State<'_, '_>, text: Text<'_>, letters: Option<Text<'_>>| {
            let trimmed = match &letters {
                Some(letters) => text.trim_matches(|letter| letters.contains(letter)),
                None => text.trim(),
            };
            made(state, trimmed.to_owned())
        },
    );
    add_joining_filters(environment, most);
}

fn add_joining_filters(environment: &mut Environment<'static>, most: usize) {
    environment.add_filter("string", move |state: &State<'_, '_>, value: Value| {
        made(state, python_str(&value, most)?)
    });
    environment.add_filter("list", |state: &State<'_, '_>, value: Value| {
        count(state, filters::list(state, value)?)
    });
    environment.add_filter(
        "replace",
        move |state: &State<'_, '_>, text: Text<'_>, old: Text<'_>, new: Text<'_>| {
            fits(replaced(&text, &old, &new), most)?;
            made(state, text.replace(&*old, &new))
        },
    );
    environment.add_filter(
        "join",
        move |state: &State<'_, '_>, items: Value, between: Option<Text<'_>>, options: Kwargs| {
            let attribute: Option<String> = options.get("attribute")?;
            options.assert_all_used()?;
            let mut text = Capped { text: String::new(), most };
            for (number, item) in items.try_iter()?.enumerate() {
                let item = match &attribute {
                    Some(name) => item.get_attr(name)?,
                    None => item,
                };
                write(&mut text, |out| {
                    if number > 0 {
                        out.write_str(between.as_deref().unwrap_or_default())?;
                    }
                    python::write_str(out, &item)
                })?;
            }
            made(state, text.text)
        },
    );
    environment.add_filter(
        "tojson",
        move |state: &State<'_, '_>, value: Value, options: Rest<Value>| {
            let indent = options.iter().find_map(indent_of);
            if indent.is_some_and(|width| width > 16) {
                return Err(Error::new(ErrorKind::InvalidOperation, "`indent` is above 16"));
            }
            let mut text = Capped { text: String::new(), most };
            write(&mut text, |out| python::write_json(out, &value, indent, 0))?;
            made(state, text.text)
        },
    );
}

fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.flat_map(char::to_lowercase)).collect()
}

/// `tojson(4)` or `tojson(indent=4, ensure_ascii=false)`
fn indent_of(option: &Value) -> Option<usize> {
    let value = if option.is_kwargs() { option.get_attr("indent").ok()? } else { option.clone() };
    usize::try_from(value).ok()
}

/// Methods of Python's texts, lists and dictionaries that change nothing.
fn call_method(
    state: &State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
    most: usize,
) -> Result<Value, Error> {
    match (method, args, value.as_str()) {
        ("format", ..) => return Err(Error::from(ErrorKind::UnknownMethod)),
        ("replace", [old, new, ..], Some(text)) => {
            fits(replaced(text, old.as_str().unwrap_or("-"), new.as_str().unwrap_or("")), most)?;
        }
        ("join", [items], Some(between)) => {
            let n_items = items.len().unwrap_or(0);
            let items = items.try_iter()?.map(|item| size(&item)).sum::<usize>();
            fits(items + n_items.saturating_mul(between.len()), most)?;
        }
        _ => {}
    }
    count(state, pycompat::unknown_method_callback(state, value, method, args)?)
}

/// The length of a text after a replacement.
fn replaced(text: &str, old: &str, new: &str) -> usize {
    let n_found = if old.is_empty() { text.len() + 1 } else { text.matches(old).count() };
    text.len().saturating_add(n_found.saturating_mul(new.len()))
}

fn python_str(value: &Value, most: usize) -> Result<String, Error> {
    let mut text = Capped { text: String::new(), most };
    write(&mut text, |out| python::write_str(out, value))?;
    Ok(text.text)
}

/// About the bytes that a text or list takes.
fn size(value: &Value) -> usize {
    match value.kind() {
        ValueKind::String => value.as_str().map_or(0, str::len),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            value.len().unwrap_or(0).saturating_mul(ITEM_BYTES)
        }
        _ => 0,
    }
}

/// Lets a text through and counts it.
fn made(state: &State<'_, '_>, text: String) -> Result<String, Error> {
    spend(state, text.len())?;
    Ok(text)
}

/// Lets a value through and counts it.
fn count(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    spend(state, size(&value))?;
    Ok(value)
}

/// A text that a filter is given.
type Text<'a> = Cow<'a, str>;

/// Bytes made so far in a rendering.
#[derive(Debug, Default)]
struct Budget(AtomicUsize);

impl Object for Budget {}

fn spend(state: &State<'_, '_>, n_bytes: usize) -> Result<(), Error> {
    let budget: Arc<Budget> = state.get_or_set_temp_object(BUDGET, Budget::default);
    let before = budget.0.fetch_add(n_bytes, Ordering::Relaxed);
    fits(before.saturating_add(n_bytes), MADE_BYTES)
}

fn fits(n_bytes: usize, most: usize) -> Result<(), Error> {
    if n_bytes > most {
        return Err(Error::new(ErrorKind::InvalidOperation, too_much(most)));
    }
    Ok(())
}

/// A text that refuses to grow beyond a limit.
struct Capped {
    text: String,
    most: usize,
}

impl Capped {
    fn is_full(&self) -> bool {
        self.text.len() > self.most
    }
}

impl Write for Capped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > self.most {
            // Marks it as full.
            self.text = " ".repeat(self.most + 1);
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}

/// Writes a value; the only way to fail is to be too large.
fn write(text: &mut Capped, work: impl FnOnce(&mut dyn Write) -> fmt::Result) -> Result<(), Error> {
    let most = text.most;
    work(text).map_err(|_| Error::new(ErrorKind::InvalidOperation, too_much(most)))
}

/// [`Capped`] for an engine that writes bytes.
struct WriteText<'a>(&'a mut Capped);

impl std::io::Write for WriteText<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = str::from_utf8(bytes).map_err(std::io::Error::other)?;
        self.0.write_str(text).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

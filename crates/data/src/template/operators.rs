//! Operators that make text or lists become calls, so that what they make can be counted.
//!
//! minijinja limits steps, but one step may double a text. `a ~ b` becomes `_concat(a, b)`, `a + b`
//! becomes `_add(a, b)` and `a * b` becomes `_mul(a, b)`.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::machinery::{Span, Token, WhitespaceConfig, parse, tokenize};

/// A tag with more tokens could exhaust the stack of a parser that descends.
const MAX_TOKENS_PER_TAG: usize = 1000;
/// Plain text that a template may collect at a time.
const MAX_CAPTURED_BYTES: usize = 16 << 10;

/// What prints the marks of `{% generation %}`.
const MARKS: [&str; 2] = ["_generation_begins", "_generation_ends"];

/// How whitespace around blocks is treated: as transformers sets it.
const WHITESPACE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };

/// The same template with its operators as calls.
pub(super) fn guard(source: &str) -> Result<String, String> {
    check_tags(source)?;
    let template = parse(source, "chat template", Default::default(), WHITESPACE)
        .map_err(|error| super::sandbox::describe(&error))?;
    let mut calls = Calls { source, edits: Vec::new(), n_captured: None, problem: None };
    calls.statement(&template);
    match calls.problem {
        Some(problem) => Err(problem),
        None => Ok(apply(source, calls.edits)),
    }
}

fn check_tags(source: &str) -> Result<(), String> {
    let mut n_tokens = 0;
    for token in tokenize(source, false, Default::default(), WHITESPACE) {
        match token.map_err(|error| super::sandbox::describe(&error))?.0 {
            Token::BlockStart | Token::VariableStart => n_tokens = 0,
            Token::Ident(name)
                if name.len() > 1 && name.starts_with('_') && !MARKS.contains(&name) =>
            {
                return Err(format!("`{name}`: names that begin with `_` are not for templates"));
            }
            _ => n_tokens += 1,
        }
        if n_tokens > MAX_TOKENS_PER_TAG {
            return Err(format!("a tag has more than {MAX_TOKENS_PER_TAG} tokens"));
        }
    }
    Ok(())
}

/// Text to put in the place of `length` bytes.
struct Edit {
    at: usize,
    length: usize,
    text: &'static str,
}

/// Makes all edits. At one place, calls end before a comma, and outer calls begin before inner ones.
fn apply(source: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| {
        (edit.at, [")", ","].iter().position(|it| *it == edit.text).unwrap_or(2))
    });
    let mut text = String::with_capacity(source.len());
    let mut done = 0;
    for edit in edits {
        text.push_str(&source[done..edit.at]);
        text.push_str(edit.text);
        done = edit.at + edit.length;
    }
    text.push_str(&source[done..]);
    text
}

struct Calls<'a> {
    source: &'a str,
    edits: Vec<Edit>,
    /// Plain text so far, inside something that collects it.
    n_captured: Option<usize>,
    problem: Option<String>,
}

impl Calls<'_> {
    fn statements(&mut self, statements: &[Stmt<'_>]) {
        statements.iter().for_each(|it| self.statement(it));
    }

    fn captured(&mut self, body: &[Stmt<'_>]) {
        let outer = self.n_captured.take();
        self.n_captured = Some(outer.unwrap_or(0));
        self.statements(body);
        self.n_captured = outer;
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(it) => self.statements(&it.children),
            Stmt::EmitExpr(it) => self.expression(&it.expr),
            Stmt::EmitRaw(it) => self.raw(it.raw),
            Stmt::ForLoop(it) => {
                self.expression(&it.iter);
                self.optional(it.filter_expr.as_ref());
                self.statements(&it.body);
                self.statements(&it.else_body);
            }
            Stmt::IfCond(it) => {
                self.expression(&it.expr);
                self.statements(&it.true_body);
                self.statements(&it.false_body);
            }
            Stmt::WithBlock(it) => {
                it.assignments.iter().for_each(|(_, value)| self.expression(value));
                self.statements(&it.body);
            }
            Stmt::Set(it) => self.expression(&it.expr),
            Stmt::SetBlock(it) => {
                self.optional(it.filter.as_ref());
                self.captured(&it.body);
            }
            Stmt::FilterBlock(it) => {
                self.expression(&it.filter);
                self.captured(&it.body);
            }
            Stmt::AutoEscape(it) => self.statements(&it.body),
            Stmt::Macro(it) => {
                it.defaults.iter().for_each(|value| self.expression(value));
                self.captured(&it.body);
            }
            Stmt::CallBlock(it) => {
                self.arguments(&it.call.args);
                self.captured(&it.macro_decl.body);
            }
            Stmt::Do(it) => self.arguments(&it.call.args),
            Stmt::Continue(_) | Stmt::Break(_) => {}
            Stmt::Block(_)
            | Stmt::Import(_)
            | Stmt::FromImport(_)
            | Stmt::Extends(_)
            | Stmt::Include(_) => self.refuse("a chat template can't use other files"),
        }
    }

    fn raw(&mut self, raw: &str) {
        let Some(n_captured) = &mut self.n_captured else { return };
        *n_captured += raw.len();
        if *n_captured > MAX_CAPTURED_BYTES {
            self.refuse("a block collects more than 16 KiB of plain text");
        }
    }

    fn expression(&mut self, expression: &Expr<'_>) {
        match expression {
            Expr::Var(_) | Expr::Const(_) => {}
            Expr::Slice(it) => {
                self.slice(&it.expr, it.span());
                self.expression(&it.expr);
                [&it.start, &it.stop, &it.step]
                    .into_iter()
                    .for_each(|it| self.optional(it.as_ref()));
            }
            Expr::UnaryOp(it) => self.expression(&it.expr),
            Expr::BinOp(it) => {
                let call = match it.op {
                    BinOpKind::Concat => Some(("_concat(", '~')),
                    BinOpKind::Add => Some(("_add(", '+')),
                    BinOpKind::Mul => Some(("_mul(", '*')),
                    _ => None,
                };
                if let Some((call, sign)) = call {
                    self.call(call, it.span());
                    self.comma(sign, start(&it.right));
                }
                self.expression(&it.left);
                self.expression(&it.right);
            }
            Expr::Compare(it) => {
                self.expression(&it.expr);
                it.ops.iter().for_each(|it| self.expression(&it.expr));
            }
            Expr::IfExpr(it) => {
                self.expression(&it.test_expr);
                self.expression(&it.true_expr);
                self.optional(it.false_expr.as_ref());
            }
            Expr::Filter(it) => {
                self.optional(it.expr.as_ref());
                self.arguments(&it.args);
            }
            Expr::Test(it) => {
                self.expression(&it.expr);
                self.arguments(&it.args);
            }
            Expr::GetAttr(it) => self.expression(&it.expr),
            Expr::GetItem(it) => {
                self.expression(&it.expr);
                self.expression(&it.subscript_expr);
            }
            Expr::Call(it) => {
                self.expression(&it.expr);
                self.arguments(&it.args);
            }
            Expr::List(it) => it.items.iter().for_each(|it| self.expression(it)),
            Expr::Map(it) => {
                it.keys.iter().chain(&it.values).for_each(|it| self.expression(it));
            }
        }
    }

    fn optional(&mut self, expression: Option<&Expr<'_>>) {
        expression.into_iter().for_each(|it| self.expression(it));
    }

    fn arguments(&mut self, arguments: &[CallArg<'_>]) {
        for argument in arguments {
            match argument {
                CallArg::Pos(it)
                | CallArg::Kwarg(_, it)
                | CallArg::PosSplat(it)
                | CallArg::KwargSplat(it) => self.expression(it),
            }
        }
    }

    fn call(&mut self, name: &'static str, span: Span) {
        self.edits.push(Edit { at: span.start_offset as usize, length: 0, text: name });
        self.edits.push(Edit { at: span.end_offset as usize, length: 0, text: ")" });
    }

    /// A slice goes through a call that counts it. Parentheses around what is sliced belong to it.
    fn slice(&mut self, sliced: &Expr<'_>, span: Span) {
        let is_around = |it: char| it == ')' || it.is_whitespace();
        let after = self.source.get(sliced.span().end_offset as usize..).unwrap_or_default();
        let bracket = after.trim_start_matches(is_around);
        let n_closed = after[..after.len() - bracket.len()].matches(')').count();
        let before = self.source.get(..start(sliced) as usize).unwrap_or_default();
        let open = |before: &'_ str| before.trim_end().strip_suffix('(').map(str::len);
        let begin = (0..n_closed).try_fold(before.len(), |end, _| open(&before[..end]));
        match begin.filter(|_| bracket.starts_with('[')) {
            Some(at) => {
                self.edits.push(Edit { at, length: 0, text: "_cut(" });
                self.edits.push(Edit { at: span.end_offset as usize, length: 0, text: ")" });
            }
            None => self.refuse("a slice stands in a place that can't be understood"),
        }
    }

    /// The sign before an operand becomes a comma. Parentheses around the operand don't belong to it.
    fn comma(&mut self, sign: char, operand: u32) {
        let before = self.source.get(..operand as usize).unwrap_or_default();
        let before = before.trim_end_matches(|it: char| it == '(' || it.is_whitespace());
        match before.strip_suffix(sign) {
            Some(left) => self.edits.push(Edit { at: left.len(), length: 1, text: "," }),
            None => self.refuse("an operator stands in a place that can't be understood"),
        }
    }

    fn refuse(&mut self, problem: &str) {
        self.problem.get_or_insert(problem.to_owned());
    }
}

/// Where an expression begins. The engine lets what follows an operand (filters, tests, attributes)
/// begin at its own name.
fn start(expression: &Expr<'_>) -> u32 {
    match expression {
        Expr::Filter(it) => it.expr.as_ref().map_or(it.span().start_offset, start),
        Expr::Test(it) => start(&it.expr),
        Expr::GetAttr(it) => start(&it.expr),
        Expr::GetItem(it) => start(&it.expr),
        Expr::Slice(it) => start(&it.expr),
        Expr::Call(it) => start(&it.expr),
        other => other.span().start_offset,
    }
}

//! What a source file may look like.

use std::path::Path;

use anyhow::{Context, Result};
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn};

use super::is_below;

const MAX_FILE_LINES: usize = 400;
const MAX_FN_LINES: usize = 60;
/// Names that say nothing about what lies in a file.
const EMPTY_NAMES: [&str; 6] = ["base", "utils", "util", "common", "helpers", "manager"];
/// The one file that names backends, and the crate that extends them.
const NAME_BACKENDS: [&str; 2] = ["crates/cli/src/device.rs", "crates/kernels"];
/// These alone ask for cargo features: those of backends and of MPI.
const ASK_FOR_FEATURES: [&str; 3] =
    ["crates/cli/src/device.rs", "crates/cli/src/workers", "crates/kernels"];
const BACKENDS: [&str; 5] = ["burn_flex", "burn_ndarray", "burn_wgpu", "burn_cuda", "burn_rocm"];
/// What only the program may do: libraries return values and errors.
const ONLY_THE_PROGRAM: [&str; 3] = ["std::env::", "env::var", "process::exit"];

pub(super) fn check(path: &Path, text: &str) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let name = path.display();
    let n_lines = text.lines().count();
    if n_lines > MAX_FILE_LINES {
        broken.push(format!("{name}: {n_lines} lines; split it (at most {MAX_FILE_LINES})"));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    if EMPTY_NAMES.contains(&&*stem) {
        broken.push(format!("{name}: the name says nothing about what it holds"));
    }
    let is_source = path.iter().any(|part| part == "src") && !is_below(path, "xtask");
    if is_source && !NAME_BACKENDS.iter().any(|place| is_below(path, place)) {
        let rule = "only device.rs and the kernels name backends";
        broken.extend(mentions(path, text, &BACKENDS, rule));
    }
    if is_source && !ASK_FOR_FEATURES.iter().any(|place| is_below(path, place)) {
        let rule = "only device.rs, workers and the kernels ask for features";
        broken.extend(mentions(path, text, &["cfg(feature"], rule));
    }
    if is_source && !is_below(path, "crates/cli") {
        let rule = "only the program reads the environment and exits";
        broken.extend(mentions(path, text, &ONLY_THE_PROGRAM, rule));
    }
    let file = syn::parse_file(text).with_context(|| name.to_string())?;
    let mut functions = LongFunctions { path, broken };
    functions.visit_file(&file);
    Ok(functions.broken)
}

fn mentions(path: &Path, text: &str, words: &[&str], rule: &str) -> Vec<String> {
    let lines = text.lines().zip(1..);
    let is_code = |line: &str| !line.trim_start().starts_with("//");
    lines
        .filter(|(line, _)| is_code(line) && words.iter().any(|word| line.contains(word)))
        .map(|(_, number)| format!("{}:{number}: {rule}", path.display()))
        .collect()
}

struct LongFunctions<'a> {
    path: &'a Path,
    broken: Vec<String>,
}

impl LongFunctions<'_> {
    fn check(&mut self, name: &syn::Ident, block: &Block) {
        let braces = &block.brace_token.span;
        let n_lines = braces.close().end().line - braces.open().start().line + 1;
        if n_lines > MAX_FN_LINES {
            let (path, number) = (self.path.display(), name.span().start().line);
            let rule = format!("{n_lines} lines; split it (at most {MAX_FN_LINES})");
            self.broken.push(format!("{path}:{number}: `{name}` has {rule}"));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.check(&function.sig.ident, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.check(&function.sig.ident, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}

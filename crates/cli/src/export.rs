//! `rein export`: a model's folder becomes another one, in another type, in smaller files or with an
//! adapter merged into it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rein_data::model_folder;
use rein_model::{ExportOptions, FloatType, SavedAdapter, export, read_config};
use rein_reward::BESIDE_MODEL;
use rein_reward::ensemble::{self, MEMBERS, members};

use crate::args::{Dtype, ExportArgs};
use crate::inference::ModelFolders;

/// What belongs to a tokenizer, in any of the ways to store one: copied as it is.
const TOKENIZER_FILES: [&str; 10] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
];
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
const MAX_BESIDE_BYTES: u64 = 256 << 20;

/// Reads one folder and writes the other.
pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let ExportArgs { output, dtype, max_shard_size, force, .. } = args;
    let model = ModelFolders::find(&args.model)?;
    check_output(&model.base, output, *force)?;
    let adapter = model.adapter.as_ref();
    let adapter = adapter.map(|adapter| SavedAdapter::open(adapter, &read_config(&model.base)?));
    let merge =
        Merge { adapter: adapter.transpose()?, sign: if args.unmerge { -1.0 } else { 1.0 } };
    let float = dtype.map(|dtype| match dtype {
        Dtype::F32 => FloatType::F32,
        Dtype::F16 => FloatType::F16,
        Dtype::Bf16 => FloatType::Bf16,
    });
    let options = ExportOptions { float, max_shard_bytes: *max_shard_size };
    let scratch = scratch_beside(output)?;
    let written =
        write(&model, &merge, &scratch, &options).and_then(|()| publish(&scratch, output));
    if written.is_err() {
        // The failure itself is what must be heard of.
        let _ = fs::remove_dir_all(&scratch);
    }
    written
}

/// Refuses to write over the model itself, or over something else that is there.
fn check_output(model: &Path, output: &Path, force: bool) -> Result<()> {
    let Ok(found) = output.canonicalize() else { return Ok(()) };
    if found == model.canonicalize().with_context(|| model.display().to_string())? {
        bail!("{}: is the model itself; name another --output", output.display());
    }
    let mut entries = fs::read_dir(output).with_context(|| output.display().to_string())?;
    if !force && entries.next().is_some() {
        bail!("{}: is not empty; name another --output, or add --force", output.display());
    }
    Ok(())
}

/// A new folder beside `output`, from which whole files are moved there.
fn scratch_beside(output: &Path) -> Result<PathBuf> {
    let Some(name) = output.file_name() else {
        bail!("{}: is no name of a folder", output.display());
    };
    let mut name = name.to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let scratch = output.with_file_name(name);
    fs::create_dir_all(&scratch).with_context(|| scratch.display().to_string())?;
    Ok(scratch)
}

/// What happens to the weights on their way.
struct Merge {
    adapter: Option<SavedAdapter>,
    sign: f32,
}

fn write(
    model: &ModelFolders,
    merge: &Merge,
    folder: &Path,
    options: &ExportOptions,
) -> Result<()> {
    export(&model.base, folder, options, |name, _, values| match &merge.adapter {
        Some(adapter) => adapter.add_to(name, values, merge.sign),
        None => Ok(()),
    })?;
    for name in TOKENIZER_FILES {
        copy(model.texts(), name, MAX_TOKENIZER_BYTES, folder)?;
    }
    // What an adapter adds changes what these were learned from.
    if merge.adapter.is_none() {
        for name in BESIDE_MODEL {
            copy(&model.base, name, MAX_BESIDE_BYTES, folder)?;
        }
        for (number, member) in (2..).zip(members(&model.base)) {
            write_member(&member, &ensemble::member(folder, number), options)?;
        }
    }
    Ok(())
}

/// A further model of an ensemble. Its tokenizer is that of the first one.
fn write_member(member: &Path, folder: &Path, options: &ExportOptions) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(export(member, folder, options, |_, _, _| Ok(()))?)
}

fn copy(from: &Path, name: &str, max_bytes: u64, to: &Path) -> Result<()> {
    let Some(bytes) = model_folder::read_optional(from, name, max_bytes)? else { return Ok(()) };
    let path = to.join(name);
    fs::write(&path, bytes).with_context(|| path.display().to_string())
}

/// Removes what an earlier model had beside it, which this one may not have.
fn remove_beside(output: &Path) -> Result<()> {
    let remove = |path: &Path| match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    let names = BESIDE_MODEL.iter().chain([&MEMBERS]).map(|name| output.join(name));
    let found = names.filter(|path| path.exists());
    found.into_iter().try_for_each(|it| remove(&it).with_context(|| it.display().to_string()))
}

/// Moves what was written to where it belongs, in place of an earlier model's files.
fn publish(scratch: &Path, output: &Path) -> Result<()> {
    let at = |path: &Path| path.display().to_string();
    fs::create_dir_all(output).with_context(|| at(output))?;
    rein_model::remove_weights(output)?;
    remove_beside(output)?;
    for entry in fs::read_dir(scratch).with_context(|| at(scratch))? {
        let from = entry.with_context(|| at(scratch))?.path();
        let to = output.join(from.file_name().context("a file has a name")?);
        fs::rename(&from, &to).with_context(|| at(&to))?;
    }
    fs::remove_dir(scratch).with_context(|| at(scratch))
}

/// Bytes, as in `2GB`, `500 MB` or `1GiB`; prefixes are decimal without an `i`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|it: char| it.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err("write it as in 2GB, 500MB or 1GiB".into()),
    };
    let size = number.parse().ok().and_then(|number: u64| number.checked_mul(factor));
    size.filter(|size| *size > 0).ok_or_else(|| "write it as in 2GB, 500MB or 1GiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_decimal_unless_they_say_otherwise() {
        let sizes = [("5GB", 5_000_000_000), ("500 mb", 500_000_000), ("1GiB", 1 << 30), ("7", 7)];
        for (text, size) in sizes {
            assert_eq!(parse_size(text), Ok(size));
        }
        for text in ["", "GB", "-1GB", "1.5GB", "0", "5XB", "99999999999TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}

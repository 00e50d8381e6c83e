//! Linear layers that adapters can stand beside, by their names in checkpoints.

use super::layout::Layout;
use super::slots::{Slot, backbone_prefix, decoder_slots};
use crate::config::ModelConfig;

/// A linear layer that an adapter can stand beside: one tensor of a checkpoint, and where its parts
/// are in the decoder.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Its whole name in the file: `transformer.h.0.attn.c_attn`.
    pub(crate) file: String,
    /// How much of it is the backbone's prefix, which old files leave out.
    n_prefix: usize,
    /// The block it is in.
    pub(crate) layer: usize,
    /// Which of the block's layers it is.
    pub(crate) part: Part,
    /// `[in, out]`
    pub(crate) shape: [usize; 2],
    /// How its outputs are ordered in the file.
    pub(crate) layout: Layout,
}

/// A linear layer of a block; queries, keys and values count as one where files store them as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    QueryKeyValue,
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Part {
    pub(crate) const ALL: [Self; 8] = [
        Self::QueryKeyValue,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Output,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];
}

impl Place {
    /// Whether a target of PEFT's means this layer: its name, or the end of it after a dot.
    pub(crate) fn is_called(&self, target: &str) -> bool {
        let end = self.file.strip_suffix(target);
        !target.is_empty() && end.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// Whether a file means this layer, be it one of the Hub's old ones without the backbone's prefix.
    pub(crate) fn is_stored_as(&self, layer: &str) -> bool {
        self.is_called(layer) && layer.len() >= self.file.len() - self.n_prefix
    }

    /// The last part of its name.
    pub(crate) fn short_name(&self) -> &str {
        self.file.rsplit('.').next().unwrap_or(&self.file)
    }

    /// A name of its own, the same for all families.
    pub(crate) fn own(&self) -> String {
        format!("blocks.{}.{:?}", self.layer, self.part)
    }
}

/// All linear layers of the decoder's blocks, in the order of the file.
pub(crate) fn linear_places(config: &ModelConfig) -> Vec<Place> {
    let prefix = backbone_prefix(config.family);
    decoder_slots(config).into_iter().filter_map(|slot| place(prefix, slot)).collect()
}

fn place(prefix: &str, slot: Slot) -> Option<Place> {
    let (layer, path) = slot.parts[0].strip_prefix("blocks.")?.split_once('.')?;
    let part = match path.strip_suffix(".weight")? {
        "attention.query" if slot.parts.len() > 1 => Part::QueryKeyValue,
        "attention.query" => Part::Query,
        "attention.key" => Part::Key,
        "attention.value" => Part::Value,
        "attention.output" => Part::Output,
        "mlp.gate" => Part::Gate,
        "mlp.up" => Part::Up,
        "mlp.down" => Part::Down,
        _ => return None,
    };
    let [rows, columns] = slot.shape[..] else { return None };
    // GPT-2 stores weights as `[in, out]`, the others as `[out, in]`.
    let shape = match slot.layout {
        Layout::Plain | Layout::SideBySide => [rows, columns],
        Layout::Transposed | Layout::PerHead { .. } => [columns, rows],
    };
    let layer = layer.parse().expect("blocks are numbered");
    let file = format!("{prefix}{}", slot.name.trim_end_matches(".weight"));
    Some(Place { file, n_prefix: prefix.len(), layer, part, shape, layout: slot.layout })
}

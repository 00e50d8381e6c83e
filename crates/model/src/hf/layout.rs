//! How the decoder's tensors lie within a file's tensor.
//!
//! All layouts are one pattern: the parts take turns, a run of values each, and some runs hold a matrix
//! that the decoder has the other way round.

use std::ops::Range;

use super::slots::Slot;

/// How the decoder's tensors lie in a file's tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As they are.
    Plain,
    /// Stored as `[out, in]`.
    Transposed,
    /// Side by side along the last axis (GPT-2's `c_attn`, stored as `[in, out]`).
    SideBySide,
    /// Interleaved per head along the first axis (GPT-NeoX's `query_key_value`); weights are stored
    /// as `[out, in]`.
    PerHead {
        /// Number of heads.
        n_heads: usize,
    },
}

/// Columns that are transposed together: as many values as fill a line of the cache.
const TILE: usize = 16;

impl Slot {
    pub(crate) fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many turns the parts take.
    fn n_turns(&self) -> usize {
        match self.layout {
            Layout::Plain | Layout::Transposed => 1,
            Layout::SideBySide => self.shape[..self.shape.len() - 1].iter().product(),
            Layout::PerHead { n_heads } => n_heads,
        }
    }

    /// The values of a part in the file, in the order in which they make up its rows.
    pub(crate) fn runs(&self, part: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (n_turns, n_parts) = (self.n_turns(), self.parts.len());
        let width = self.n_values() / n_turns / n_parts;
        (0..n_turns).map(move |turn| {
            let begin = (turn * n_parts + part) * width;
            begin..begin + width
        })
    }

    /// Rows and columns of a part that the decoder has the other way round.
    pub(crate) fn stored_matrix(&self) -> Option<[usize; 2]> {
        match (self.layout, &self.shape[..]) {
            (Layout::Transposed | Layout::PerHead { .. }, [d_out, d_in]) => {
                Some([d_out / self.parts.len(), *d_in])
            }
            _ => None,
        }
    }

    /// The file's tensor out of the decoder's, in the order of `parts`.
    pub(crate) fn pack(&self, parts: Vec<Vec<f32>>) -> Vec<f32> {
        let stored = |part: Vec<f32>| match self.stored_matrix() {
            Some([d_out, d_in]) => {
                let mut stored = vec![0.0; part.len()];
                transpose_rows(&part, 0, [d_in, d_out], &mut stored);
                stored
            }
            None => part,
        };
        let mut stored: Vec<Vec<f32>> = parts.into_iter().map(stored).collect();
        if stored.len() == 1 {
            return stored.remove(0);
        }
        let mut packed = Vec::with_capacity(self.n_values());
        let width = self.n_values() / self.n_turns() / stored.len();
        for turn in 0..self.n_turns() {
            for part in &stored {
                packed.extend_from_slice(&part[turn * width..][..width]);
            }
        }
        packed
    }
}

/// One of the decoder's tensors as it comes out of a file, block by block.
pub(crate) struct Unpacked {
    values: Vec<f32>,
    stored_matrix: Option<[usize; 2]>,
    n_rows_taken: usize,
}

impl Unpacked {
    pub(crate) fn new(slot: &Slot) -> Self {
        let n_values = slot.n_values() / slot.parts.len();
        let stored_matrix = slot.stored_matrix();
        let values = if stored_matrix.is_some() {
            vec![0.0; n_values]
        } else {
            Vec::with_capacity(n_values)
        };
        Self { values, stored_matrix, n_rows_taken: 0 }
    }

    /// The next values of the file; of a matrix, whole rows.
    pub(crate) fn take(&mut self, block: &[f32]) {
        match self.stored_matrix {
            Some(shape) => {
                transpose_rows(block, self.n_rows_taken, shape, &mut self.values);
                self.n_rows_taken += block.len() / shape[1];
            }
            None => self.values.extend_from_slice(block),
        }
    }

    /// The whole tensor, row-major.
    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// Puts some rows of a row-major `[n_rows, n_columns]` matrix, which begin with `first_row`, into the
/// matrix `[n_columns, n_rows]`.
fn transpose_rows(
    rows: &[f32],
    first_row: usize,
    [n_rows, n_columns]: [usize; 2],
    transposed: &mut [f32],
) {
    let n_here = rows.len() / n_columns;
    for first_column in (0..n_columns).step_by(TILE) {
        let columns = first_column..(first_column + TILE).min(n_columns);
        let lines = &mut transposed[columns.start * n_rows..columns.end * n_rows];
        for row in 0..n_here {
            let values = &rows[row * n_columns..][columns.clone()];
            for (line, value) in lines.chunks_exact_mut(n_rows).zip(values) {
                line[first_row + row] = *value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a file is read: run by run, in blocks of whole rows.
    fn unpack(slot: &Slot, part: usize, file: &[f32], n_rows: usize) -> Vec<f32> {
        let block = slot.stored_matrix().map_or(1, |[_, n_columns]| n_columns) * n_rows;
        let mut unpacked = Unpacked::new(slot);
        for run in slot.runs(part) {
            file[run].chunks(block).for_each(|block| unpacked.take(block));
        }
        unpacked.into_values()
    }

    #[test]
    fn packing_undoes_unpacking() {
        let parts = ["a", "b", "c"].map(String::from).to_vec();
        let slots = [
            (vec![2, 3], parts[..1].to_vec(), Layout::Plain),
            (vec![2, 3], parts[..1].to_vec(), Layout::Transposed),
            (vec![35, 19], parts[..1].to_vec(), Layout::Transposed),
            (vec![2, 6], parts.clone(), Layout::SideBySide),
            (vec![6], parts.clone(), Layout::SideBySide),
            (vec![12, 4], parts.clone(), Layout::PerHead { n_heads: 2 }),
            (vec![12], parts, Layout::PerHead { n_heads: 2 }),
        ];
        for (shape, parts, layout) in slots {
            let slot = Slot { name: "x".into(), shape, parts, layout };
            let file: Vec<f32> = (0..slot.n_values()).map(|i| i as f32).collect();
            for n_rows in [1, 2, 100] {
                let parts = 0..slot.parts.len();
                let unpacked = parts.map(|part| unpack(&slot, part, &file, n_rows)).collect();
                assert_eq!(slot.pack(unpacked), file, "{slot:?}");
            }
        }
    }

    #[test]
    fn heads_are_taken_apart_as_transformers_does() {
        // Two heads of width 1: the rows are q0, k0, v0, q1, k1, v1.
        let slot = Slot {
            name: "x".into(),
            shape: vec![6, 2],
            parts: ["q", "k", "v"].map(String::from).to_vec(),
            layout: Layout::PerHead { n_heads: 2 },
        };
        let file: Vec<f32> = (0..12).map(|i| i as f32).collect();
        // The key rows are [2, 3] and [8, 9]; transposed they are [in, out].
        assert_eq!(unpack(&slot, 1, &file, 1), [2.0, 8.0, 3.0, 9.0]);
    }

    #[test]
    fn gpt2_has_queries_keys_and_values_side_by_side() {
        let slot = Slot {
            name: "x".into(),
            shape: vec![2, 6],
            parts: ["q", "k", "v"].map(String::from).to_vec(),
            layout: Layout::SideBySide,
        };
        let file: Vec<f32> = (0..12).map(|i| i as f32).collect();
        assert_eq!(unpack(&slot, 1, &file, 1), [2.0, 3.0, 8.0, 9.0]);
    }
}

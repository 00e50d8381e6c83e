//! Products of a few rows with weights that were put in order once.
//!
//! While tokens are generated, the same weights meet few rows again and again. They are stored in
//! panels of 32 output columns, one input after the other, so that a product reads them from
//! front to back. Each number of a product is summed in the order of the inputs, whatever rows stand
//! beside it: a row's product has the same bits in any batch and on any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::bf16::{Pair, widen};
use super::pieces::{Number, unwritten};
use super::strips::{self, COLUMNS, Lanes, Place, ROWS, Rows as Strip, Unit};
use super::tile::{Columns, WIDTH, multiply_panel};
use crate::settings::Precision;

/// Outputs of a panel.
pub const PANEL: usize = WIDTH;

/// Operations below which one thread is faster than several.
const FEW_OPERATIONS: usize = 1 << 18;

/// A row-major matrix that becomes some of the output columns of a [`Packed`].
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// `[in, out]`, or `[out, in]` if `transposed`.
    pub values: &'a [f32],
    /// Whether it is stored by outputs.
    pub transposed: bool,
    /// `[out]`, is added to each row's product.
    pub bias: Option<&'a [f32]>,
}

/// Weights in panels.
#[derive(Debug)]
pub struct Packed {
    panels: Panels,
    /// What sums begin with, `[panels]`.
    begins: Vec<Columns>,
    n_in: usize,
    n_out: usize,
}

/// The weights of all panels.
#[derive(Debug)]
enum Panels {
    /// `[in]` each.
    F32(Blocks<Columns>),
    /// A strip of columns each, `[pairs of inputs, columns]`.
    Bf16(Blocks<Pair>),
}

/// Panels of the same length, in as many buffers as there are sources with whole panels: these are as
/// large as the weights' gradients, so that an update takes the room that sampling leaves.
#[derive(Debug)]
struct Blocks<T> {
    buffers: Vec<Vec<T>>,
    /// Panels in the buffers before each, ascending.
    firsts: Vec<usize>,
    /// The length of a panel.
    len: usize,
}

impl<T: Number + Send> Blocks<T> {
    /// Panels of sources as wide as this, each of which `fill` writes whole.
    fn new(widths: &[usize], len: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Self {
        let n_panels = widths.iter().sum::<usize>().div_ceil(WIDTH);
        let are_whole = widths.iter().all(|width| width.is_multiple_of(WIDTH));
        let counts: Vec<usize> = match are_whole {
            true => widths.iter().map(|width| width / WIDTH).collect(),
            false => vec![n_panels],
        };
        let firsts = counts.iter().scan(0, |first, count| {
            *first += count;
            Some(*first - count)
        });
        let firsts = firsts.collect();
        let mut buffers: Vec<Vec<T>> = counts.iter().map(|it| unwritten(it * len)).collect();
        let panels: Vec<&mut [T]> =
            buffers.iter_mut().flat_map(|buffer| buffer.chunks_exact_mut(len)).collect();
        panels.into_par_iter().enumerate().for_each(|(panel, it)| fill(panel, it));
        Self { buffers, firsts, len }
    }

    fn panel(&self, panel: usize) -> &[T] {
        let buffer = self.firsts.partition_point(|first| *first <= panel) - 1;
        &self.buffers[buffer][(panel - self.firsts[buffer]) * self.len..][..self.len]
    }

    fn n_bytes(&self) -> usize {
        self.buffers.iter().map(|buffer| size_of_val(buffer.as_slice())).sum()
    }
}

/// Rows that begin `stride` numbers apart.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Begins with the first row.
    pub data: &'a [f32],
    /// Not below the width of the rows.
    pub stride: usize,
    /// How many rows there are.
    pub count: usize,
}

/// Where a product goes: as many rows as are multiplied, `stride` numbers apart.
#[derive(Debug)]
pub struct Sink<'a> {
    /// Begins with the first row.
    pub data: &'a mut [f32],
    /// Not below the number of outputs.
    pub stride: usize,
    /// Whether the product is added to what stands there.
    pub adds: bool,
}

/// Who computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// This thread.
    One,
    /// All of them, if there is enough to do.
    All,
}

/// Numbers of the output that threads write to at the same time, each its own.
#[derive(Clone, Copy)]
struct Output(*mut f32);

#[expect(unsafe_code, reason = "threads share one output")]
// SAFETY: each panel writes to its own columns.
unsafe impl Sync for Output {}

impl Packed {
    /// Weights side by side, each with `n_in` inputs, kept in this precision. The inputs of products are
    /// rounded to it, too.
    ///
    /// # Panics
    /// Sources whose numbers don't make whole outputs.
    pub fn new(n_in: usize, sources: &[Source<'_>], precision: Precision) -> Self {
        let widths: Vec<usize> = sources
            .iter()
            .map(|source| {
                assert_eq!(source.values.len() % n_in, 0, "a source has whole outputs");
                let width = source.values.len() / n_in;
                assert!(source.bias.is_none_or(|bias| bias.len() == width), "one bias an output");
                width
            })
            .collect();
        let n_out = widths.iter().sum();
        let fill_panel = |panel: usize, columns: &mut [Columns]| {
            // The sources' columns that lie in this panel.
            let (first, mut source_first) = (panel * WIDTH, 0);
            if first + WIDTH > n_out {
                columns.fill(Columns::ZERO);
            }
            for (source, width) in sources.iter().zip(&widths) {
                let from = first.max(source_first);
                let to = (first + WIDTH).min(source_first + width);
                if from < to {
                    source.copy(*width, [from - first, from - source_first, to - from], columns);
                }
                source_first += width;
            }
        };
        let panels = match precision {
            Precision::F32 => Panels::F32(Blocks::new(&widths, n_in, fill_panel)),
            Precision::Bf16 => {
                let len = n_in.div_ceil(2) * COLUMNS;
                Panels::Bf16(Blocks::new(&widths, len, |panel, strip| {
                    let mut columns = vec![Columns::ZERO; n_in];
                    fill_panel(panel, &mut columns);
                    let data = numbers_of(&columns);
                    let (n_lanes, input) = (WIDTH, WIDTH);
                    let from = Lanes { data, n_lanes, n_inputs: n_in, lane: 1, input };
                    Pair::fill::<COLUMNS>(strip, from);
                }))
            }
        };
        let begins = begins(sources, &widths);
        Self { panels, begins, n_in, n_out }
    }

    /// The weights of one output, written to `weights`.
    ///
    /// # Panics
    /// An output that isn't there, and room for another number of inputs.
    pub fn output(&self, output: usize, weights: &mut [f32]) {
        assert!(output < self.n_out && weights.len() == self.n_in, "one number an input");
        let (panel, column) = (output / WIDTH, output % WIDTH);
        match &self.panels {
            Panels::F32(columns) => {
                let columns = columns.panel(panel);
                weights.iter_mut().zip(columns).for_each(|(it, columns)| *it = columns.0[column]);
            }
            Panels::Bf16(strips) => {
                let pairs = strips.panel(panel).chunks(COLUMNS);
                for (weights, pairs) in weights.chunks_mut(2).zip(pairs) {
                    let halves = [pairs[column] as u16, (pairs[column] >> 16) as u16];
                    weights.iter_mut().zip(halves).for_each(|(it, half)| *it = widen(half));
                }
            }
        }
    }

    /// Output columns.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// Bytes that a product reads.
    pub fn n_bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(columns) => columns.n_bytes(),
            Panels::Bf16(strips) => strips.n_bytes(),
        }
    }

    /// `input · weights + bias`, written or added to `output`.
    ///
    /// # Panics
    /// Rows that don't fit into their slices.
    pub fn multiply(&self, input: Rows<'_>, output: Sink<'_>, threads: Threads) {
        self.multiply_panels(0..self.begins.len(), input, output, threads);
    }

    /// [`multiply`](Self::multiply) by some of the outputs only, from a multiple of [`PANEL`] on.
    ///
    /// # Panics
    /// Rows that don't fit into their slices, and outputs that aren't there.
    pub fn multiply_some(
        &self,
        outputs: Range<usize>,
        input: Rows<'_>,
        output: Sink<'_>,
        threads: Threads,
    ) {
        assert!(outputs.start.is_multiple_of(PANEL), "panels are multiplied whole");
        let panels = outputs.start / PANEL..outputs.end.div_ceil(PANEL);
        self.multiply_panels(panels, input, output, threads);
    }

    #[expect(unsafe_code, reason = "columns of the output are written by several threads")]
    fn multiply_panels(
        &self,
        panels: Range<usize>,
        input: Rows<'_>,
        output: Sink<'_>,
        threads: Threads,
    ) {
        let Rows { data, stride, count } = input;
        let n_out = (panels.end * PANEL).min(self.n_out).saturating_sub(panels.start * PANEL);
        if count == 0 || n_out == 0 {
            return;
        }
        assert!((count - 1) * stride + self.n_in <= data.len(), "the rows end beyond their slice");
        assert!(n_out <= output.stride, "rows of the product overlap");
        let needed = (count - 1) * output.stride + n_out;
        assert!(needed <= output.data.len(), "the product ends beyond its slice");
        let target = Output(output.data.as_mut_ptr());
        let strips = self.strips_of(input);
        let first = panels.start;
        let one = |panel: usize| {
            let target = &target;
            let width = WIDTH.min(self.n_out - panel * WIDTH);
            // SAFETY: all rows of the input and of the output lie within their slices, which was
            // checked above, and these columns of the output are this panel's alone.
            unsafe {
                let target = target.0.add((panel - first) * WIDTH);
                self.multiply_one(
                    panel,
                    (input, &strips),
                    (target, output.stride, output.adds),
                    width,
                );
            }
        };
        let is_little = count * self.n_in * n_out < FEW_OPERATIONS;
        if threads == Threads::One || is_little {
            panels.for_each(one);
        } else {
            let share = panels.len().div_ceil(4 * rayon::current_num_threads());
            panels.into_par_iter().with_min_len(share).for_each(one);
        }
    }

    /// Rows by one panel.
    ///
    /// # Safety
    /// Those of [`multiply_panel`].
    #[expect(unsafe_code, reason = "columns of the output are written by several threads")]
    unsafe fn multiply_one(
        &self,
        panel: usize,
        (input, strips): (Rows<'_>, &[Pair]),
        (target, stride, adds): (*mut f32, usize, bool),
        width: usize,
    ) {
        let begin = &self.begins[panel];
        match &self.panels {
            Panels::F32(columns) => {
                let columns = columns.panel(panel);
                // SAFETY: the caller's word.
                unsafe { multiply_panel(input, columns, begin, (target, stride, adds), width) }
            }
            Panels::Bf16(panels) => {
                let n_pairs = self.n_in.div_ceil(2);
                let columns = panels.panel(panel);
                for (strip, rows) in strips.chunks_exact(n_pairs * ROWS).enumerate() {
                    let first = strip * ROWS;
                    let shape = [ROWS.min(input.count - first), width];
                    // SAFETY: the caller's word.
                    unsafe {
                        let target = target.add(first * stride);
                        let place = Place { target, stride, shape, scale: 1.0, adds };
                        let (rows, columns) =
                            (Strip::of_strip(rows), strips::Columns::of_strip(columns));
                        Pair::multiply(rows, columns, n_pairs, &begin.0, place);
                    }
                }
            }
        }
    }

    /// The rows in strips, as bf16 wants them.
    fn strips_of(&self, input: Rows<'_>) -> Vec<Pair> {
        let Panels::Bf16(_) = self.panels else { return Vec::new() };
        let Rows { data, stride, count } = input;
        let len = self.n_in.div_ceil(2) * ROWS;
        let mut strips = vec![0; count.div_ceil(ROWS) * len];
        let rows = Lanes { data, n_lanes: count, n_inputs: self.n_in, lane: stride, input: 1 };
        for (strip, pairs) in strips.chunks_exact_mut(len).enumerate() {
            let first = strip * ROWS;
            Pair::fill::<ROWS>(pairs, rows.part((first, ROWS.min(count - first)), (0, self.n_in)));
        }
        strips
    }
}

/// The numbers of some columns, one input after the other.
#[expect(unsafe_code, reason = "columns are their numbers and nothing else")]
fn numbers_of(columns: &[Columns]) -> &[f32] {
    // SAFETY: a column is an array of numbers, without padding: its size is a multiple of its alignment.
    unsafe { std::slice::from_raw_parts(columns.as_ptr().cast(), columns.len() * WIDTH) }
}

/// What sums begin with, `[panels]`.
fn begins(sources: &[Source<'_>], widths: &[usize]) -> Vec<Columns> {
    let biases = sources.iter().zip(widths);
    let biases = biases.flat_map(|(source, width)| match source.bias {
        Some(bias) => bias.to_vec(),
        None => vec![0.0; *width],
    });
    let biases: Vec<f32> = biases.collect();
    let panel =
        |biases: &[f32]| Columns(std::array::from_fn(|at| biases.get(at).copied().unwrap_or(0.0)));
    biases.chunks(WIDTH).map(panel).collect()
}

impl Source<'_> {
    /// Copies `count` of its columns, the first of which is `from`, to the panel's place `to`.
    fn copy(&self, width: usize, [to, from, count]: [usize; 3], columns: &mut [Columns]) {
        if self.transposed {
            let n_in = columns.len();
            for (place, output) in self.values.chunks_exact(n_in).skip(from).take(count).enumerate()
            {
                for (column, value) in columns.iter_mut().zip(output) {
                    column.0[to + place] = *value;
                }
            }
        } else {
            for (column, input) in columns.iter_mut().zip(self.values.chunks_exact(width)) {
                column.0[to..to + count].copy_from_slice(&input[from..from + count]);
            }
        }
    }
}

#[cfg(test)]
mod tests;

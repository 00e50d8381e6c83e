//! Products of a few rows with weights that were put in order once.
//!
//! While tokens are generated, the same weights meet few rows again and again. They are stored in
//! panels of 32 output columns, one input after the other, so that a product reads them from
//! front to back. Each number of a product is summed in the order of the inputs, whatever rows stand
//! beside it: a row's product has the same bits in any batch and on any number of threads.

use rayon::prelude::*;

use super::tile::{Columns, WIDTH, multiply_panel};

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
    /// `[panels, in]`
    columns: Vec<Columns>,
    /// What sums begin with, `[panels]`.
    begins: Vec<Columns>,
    n_in: usize,
    n_out: usize,
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
    /// Weights side by side, each with `n_in` inputs.
    ///
    /// # Panics
    /// Sources whose numbers don't make whole outputs.
    pub fn new(n_in: usize, sources: &[Source<'_>]) -> Self {
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
        let n_panels = usize::div_ceil(n_out, WIDTH);
        let mut columns = unwritten(n_panels * n_in);
        let mut begins = vec![Columns::ZERO; n_panels];
        let panels = columns.par_chunks_exact_mut(n_in).zip(&mut begins).enumerate();
        panels.for_each(|(panel, (columns, begin))| {
            // The sources' columns that lie in this panel.
            let (first, mut source_first) = (panel * WIDTH, 0);
            if first + WIDTH > n_out {
                columns.fill(Columns::ZERO);
            }
            for (source, width) in sources.iter().zip(&widths) {
                let from = first.max(source_first);
                let to = (first + WIDTH).min(source_first + width);
                if from < to {
                    let place = [from - first, from - source_first, to - from];
                    source.copy(*width, place, columns, begin);
                }
                source_first += width;
            }
        });
        Self { columns, begins, n_in, n_out }
    }

    /// Output columns.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// Bytes that a product reads.
    pub fn n_bytes(&self) -> usize {
        size_of_val(self.columns.as_slice())
    }

    /// `input · weights + bias`, written or added to `output`.
    ///
    /// # Panics
    /// Rows that don't fit into their slices.
    #[expect(unsafe_code, reason = "columns of the output are written by several threads")]
    pub fn multiply(&self, input: Rows<'_>, output: Sink<'_>, threads: Threads) {
        let Rows { data, stride, count } = input;
        if count == 0 || self.n_out == 0 {
            return;
        }
        assert!((count - 1) * stride + self.n_in <= data.len(), "the rows end beyond their slice");
        assert!(self.n_out <= output.stride, "rows of the product overlap");
        let needed = (count - 1) * output.stride + self.n_out;
        assert!(needed <= output.data.len(), "the product ends beyond its slice");
        let target = Output(output.data.as_mut_ptr());
        let one = |panel: usize| {
            let target = &target;
            let columns = &self.columns[panel * self.n_in..][..self.n_in];
            let width = WIDTH.min(self.n_out - panel * WIDTH);
            let begin = &self.begins[panel];
            // SAFETY: all rows of the input and of the output lie within their slices, which was
            // checked above, and these columns of the output are this panel's alone.
            unsafe {
                let target = target.0.add(panel * WIDTH);
                let target = (target, output.stride, output.adds);
                multiply_panel(input, columns, begin, target, width);
            }
        };
        let n_panels = self.begins.len();
        let is_little = count * self.n_in * self.n_out < FEW_OPERATIONS;
        if threads == Threads::One || is_little {
            (0..n_panels).for_each(one);
        } else {
            let share = n_panels.div_ceil(4 * rayon::current_num_threads());
            (0..n_panels).into_par_iter().with_min_len(share).for_each(one);
        }
    }
}

/// Columns that mean nothing yet: each of them must be written before any is read.
#[expect(unsafe_code, clippy::uninit_vec, reason = "filling pages twice takes as long as the work")]
fn unwritten(len: usize) -> Vec<Columns> {
    let mut buffer = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and every bit pattern is a number.
    unsafe { buffer.set_len(len) };
    buffer
}

impl Source<'_> {
    /// Copies `count` of its columns, the first of which is `from`, to the panel's place `to`.
    fn copy(
        &self,
        width: usize,
        [to, from, count]: [usize; 3],
        columns: &mut [Columns],
        begin: &mut Columns,
    ) {
        if let Some(bias) = self.bias {
            begin.0[to..to + count].copy_from_slice(&bias[from..from + count]);
        }
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
mod tests {
    use super::*;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + salt * 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn transposed(values: &[f32], width: usize) -> Vec<f32> {
        (0..values.len())
            .map(|i| values[i % (values.len() / width) * width + i / (values.len() / width)])
            .collect()
    }

    /// Two sources side by side, one of them transposed, against sums in f64.
    fn check(n_in: usize, [left, right]: [usize; 2], n_rows: usize) {
        let (a, b) = (numbers(n_in * left, 1), numbers(n_in * right, 2));
        let (bias, turned) = (numbers(left, 3), transposed(&b, right));
        let packed = Packed::new(
            n_in,
            &[
                Source { values: &a, transposed: false, bias: Some(&bias) },
                Source { values: &turned, transposed: true, bias: None },
            ],
        );
        let (stride, n_out) = (n_in + 3, left + right);
        let x = numbers(n_rows * stride, 4);
        let rows = Rows { data: &x, stride, count: n_rows };
        let mut y = vec![1.0; n_rows * (n_out + 2)];
        let sink = Sink { data: &mut y, stride: n_out + 2, adds: true };
        packed.multiply(rows, sink, Threads::All);
        for row in 0..n_rows {
            let x = &x[row * stride..][..n_in];
            for column in 0..n_out {
                let weight = |k: usize| match column.checked_sub(left) {
                    None => a[k * left + column],
                    Some(column) => b[k * right + column],
                };
                let products = x.iter().enumerate().map(|(k, x)| f64::from(x * weight(k)));
                let start = bias.get(column).copied().unwrap_or(0.0);
                let want = products.sum::<f64>() + f64::from(start) + 1.0;
                let got = f64::from(y[row * (n_out + 2) + column]);
                assert!((got - want).abs() < 1e-4, "{got} and {want}");
            }
            assert_eq!(y[row * (n_out + 2) + n_out..][..2], [1.0; 2], "nothing is written beyond");
            // The same bits alone.
            let mut alone = vec![1.0; n_out];
            let rows = Rows { data: x, stride: n_in, count: 1 };
            let sink = Sink { data: &mut alone, stride: n_out, adds: true };
            packed.multiply(rows, sink, Threads::One);
            assert_eq!(alone, y[row * (n_out + 2)..][..n_out]);
        }
    }

    #[test]
    fn products_are_those_of_the_sources_and_independent_of_the_other_rows() {
        for n_rows in 1..28 {
            check(19, [40, 9], n_rows);
        }
        check(1, [1, 1], 3);
        check(64, [32, 64], 40);
        check(300, [100, 333], 13);
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_sink_that_is_too_short() {
        let packed = Packed::new(2, &[Source { values: &[1.0; 4], transposed: false, bias: None }]);
        let rows = Rows { data: &[1.0; 4], stride: 2, count: 2 };
        let sink = Sink { data: &mut [0.0; 3], stride: 2, adds: false };
        packed.multiply(rows, sink, Threads::One);
    }
}

//! Products of matrices that lie in f32: both are rounded on the way.

use rayon::prelude::*;

use super::strip::{Lanes, fill};
use super::tile::{COLUMNS, Place, ROWS, multiply};
use crate::cpu::matmul::{Target, View};

/// Operations below which one thread is faster than several.
const FEW_OPERATIONS: usize = 1 << 18;

/// Pairs that are summed before sums go to memory: strips of them stay in a core's cache.
const BLOCK_PAIRS: usize = 512;
/// Strips of rows that meet the same columns before the next ones are put in order.
const BLOCK_ROWS: usize = 43;
/// Strips of columns that a thread puts in order at a time.
const BLOCK_COLUMNS: usize = 4;

/// `target = scale · a b` with both factors in bf16, on all threads if it is large.
///
/// # Panics
/// Shapes that don't fit together.
pub fn product(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>) {
    let ([m, k], [_, n]) = (a.shape(), b.shape());
    Product::new(a, b, scale, target).run(m * k * n >= FEW_OPERATIONS);
}

/// [`product`] on this thread.
///
/// # Panics
/// Shapes that don't fit together.
pub fn product_here(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>) {
    Product::new(a, b, scale, target).run(false);
}

/// What all threads know. Each number of the target is summed in the same order whoever does it.
struct Product<'a> {
    /// The rows of the left factor.
    rows: Lanes<'a>,
    /// The columns of the right factor.
    columns: Lanes<'a>,
    scale: f32,
    target: *mut f32,
    stride: usize,
    adds: bool,
}

#[expect(unsafe_code, reason = "threads share one output")]
// SAFETY: each tile writes to its own rows and columns of the target.
unsafe impl Sync for Product<'_> {}

impl<'a> Product<'a> {
    fn new(a: View<'a>, b: View<'a>, scale: f32, target: Target<'a>) -> Self {
        let ([m, k], [k_too, n]) = (a.shape(), b.shape());
        assert_eq!(k, k_too, "shapes don't fit together");
        let (target, stride, adds) = target.for_shape([m, n]);
        Self { rows: a.lanes(), columns: b.transposed().lanes(), scale, target, stride, adds }
    }

    fn run(&self, on_all_threads: bool) {
        let n_pairs = self.rows.n_inputs.div_ceil(2);
        let mut rows = unwritten(self.rows.n_lanes.div_ceil(ROWS) * n_pairs * ROWS);
        let strip_len = (n_pairs * ROWS).max(1);
        let fill_rows = |(strip, rows): (usize, &mut [u32])| {
            let first = strip * ROWS;
            let count = ROWS.min(self.rows.n_lanes - first);
            fill::<ROWS>(rows, self.rows.part((first, count), (0, self.rows.n_inputs)));
        };
        if on_all_threads {
            rows.par_chunks_exact_mut(strip_len).enumerate().for_each(fill_rows);
        } else {
            rows.chunks_exact_mut(strip_len).enumerate().for_each(fill_rows);
        }
        let n_row_blocks = self.rows.n_lanes.div_ceil(ROWS * BLOCK_ROWS);
        let n_strips = self.columns.n_lanes.div_ceil(COLUMNS);
        let width = if on_all_threads { self.width(n_row_blocks, n_strips) } else { BLOCK_COLUMNS };
        let block = |room: &mut Vec<u32>, task: usize| {
            let (row_block, column_block) = (task % n_row_blocks, task / n_row_blocks);
            let strips = column_block * width..((column_block + 1) * width).min(n_strips);
            let first = row_block * BLOCK_ROWS;
            self.block((&rows, first), strips, n_pairs, room);
        };
        let n_tasks = n_row_blocks * n_strips.div_ceil(width);
        if on_all_threads {
            (0..n_tasks).into_par_iter().with_max_len(1).for_each_init(Vec::new, block);
        } else {
            let mut room = Vec::new();
            (0..n_tasks).for_each(|task| block(&mut room, task));
        }
    }

    /// Strips of columns for a thread: few enough that all threads have several times something to do.
    fn width(&self, n_row_blocks: usize, n_strips: usize) -> usize {
        let enough = 3 * rayon::current_num_threads();
        let mut width = BLOCK_COLUMNS;
        while width > 1 && n_row_blocks * n_strips.div_ceil(width) < enough {
            width /= 2;
        }
        width
    }

    /// A block of rows, the first strip of which is `first`, by some strips of columns.
    fn block(
        &self,
        (rows, first): (&[u32], usize),
        strips: std::ops::Range<usize>,
        n_pairs: usize,
        room: &mut Vec<u32>,
    ) {
        let row_strips = rows.chunks_exact(n_pairs * ROWS).enumerate();
        let row_strips = row_strips.skip(first).take(BLOCK_ROWS);
        for pair in (0..n_pairs).step_by(BLOCK_PAIRS) {
            let count = BLOCK_PAIRS.min(n_pairs - pair);
            self.fill_columns(strips.clone(), (pair, count), room);
            for (row_strip, rows) in row_strips.clone() {
                let rows = &rows[pair * ROWS..][..count * ROWS];
                for (strip, columns) in strips.clone().zip(room.chunks_exact(count * COLUMNS)) {
                    self.tile([row_strip, strip], rows, columns, pair > 0);
                }
            }
        }
    }

    fn fill_columns(
        &self,
        strips: std::ops::Range<usize>,
        (pair, count): (usize, usize),
        room: &mut Vec<u32>,
    ) {
        room.resize(strips.len() * count * COLUMNS, 0);
        let n_inputs = (2 * count).min(self.columns.n_inputs - 2 * pair);
        for (strip, room) in strips.zip(room.chunks_exact_mut(count * COLUMNS)) {
            let first = strip * COLUMNS;
            let n_lanes = COLUMNS.min(self.columns.n_lanes - first);
            fill::<COLUMNS>(room, self.columns.part((first, n_lanes), (2 * pair, n_inputs)));
        }
    }

    #[expect(unsafe_code, reason = "threads share one output")]
    fn tile(&self, [row_strip, strip]: [usize; 2], rows: &[u32], columns: &[u32], is_later: bool) {
        let (row, column) = (row_strip * ROWS, strip * COLUMNS);
        let shape = [ROWS.min(self.rows.n_lanes - row), COLUMNS.min(self.columns.n_lanes - column)];
        // SAFETY: the target holds all rows and columns, which was checked when it was taken, and this
        // tile of it is written by nobody else at the time.
        unsafe {
            let target = self.target.add(row * self.stride + column);
            let (stride, scale, adds) = (self.stride, self.scale, self.adds || is_later);
            multiply(rows, columns, &[0.0; COLUMNS], Place { target, stride, shape, scale, adds });
        }
    }
}

/// Pairs that mean nothing yet: each of them must be written before any is read.
#[expect(unsafe_code, clippy::uninit_vec, reason = "filling pages twice takes as long as the work")]
fn unwritten(len: usize) -> Vec<u32> {
    let mut buffer = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and every bit pattern is a number.
    unsafe { buffer.set_len(len) };
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + salt * 11) as f32 * 0.37).sin() * 3.0).collect()
    }

    /// `target = scale · a b`, as stored or transposed, against sums in f64 of the f32 numbers: within
    /// what both roundings may do.
    fn check([m, k, n]: [usize; 3], turned: [bool; 2], adds: bool) {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let view = |data, [rows, columns]: [usize; 2], turned| match turned {
            true => View::whole(data, [columns, rows]).transposed(),
            false => View::whole(data, [rows, columns]),
        };
        let at = |data: &[f32], [rows, columns]: [usize; 2], [i, j]: [usize; 2], turned| {
            f64::from(if turned { data[j * rows + i] } else { data[i * columns + j] })
        };
        let stride = n + 5;
        let mut c = vec![0.25; m * stride];
        let target = if adds { Target::add(&mut c, stride) } else { Target::write(&mut c, stride) };
        product(view(&a, [m, k], turned[0]), view(&b, [k, n], turned[1]), 0.5, target);
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k)
                    .map(|l| at(&a, [m, k], [i, l], turned[0]) * at(&b, [k, n], [l, j], turned[1]));
                let (sum, size) = terms.fold((0.0, 0.0), |(s, t), it| (s + it, t + it.abs()));
                let want = 0.5 * sum + if adds { 0.25 } else { 0.0 };
                let error = (f64::from(c[i * stride + j]) - want).abs();
                let bound = 0.5 * size * 2.0_f64.powi(-8) + 1e-6;
                assert!(error <= bound, "{error} is beyond {bound}: {m} {k} {n}, {turned:?}");
            }
            assert_eq!(c[i * stride + n..][..5], [0.25; 5], "nothing is written beyond");
        }
    }

    #[test]
    fn products_are_within_the_bound_of_two_roundings() {
        for turned in [[false, false], [false, true], [true, false], [true, true]] {
            for shape in [[1, 1, 1], [5, 7, 9], [13, 33, 40], [12, 64, 32], [70, 130, 100]] {
                check(shape, turned, false);
                check(shape, turned, true);
            }
            // Several blocks of pairs, and of rows.
            check([14, 1030, 35], turned, false);
            check([530, 20, 33], turned, true);
        }
    }

    /// Neither the other rows nor the threads change a row's bits.
    #[test]
    fn rows_do_not_depend_on_each_other_or_on_threads() {
        let (m, k, n) = (600, 300, 150);
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
        let [mut all, mut here, mut one] = [vec![0.0; m * n], vec![0.0; m * n], vec![0.0; n]];
        let (a, b) = (View::whole(&a, [m, k]), View::whole(&b, [k, n]));
        product(a, b, 1.0, Target::write(&mut all, n));
        product_here(a, b, 1.0, Target::write(&mut here, n));
        product(a.rows(577, 1), b, 1.0, Target::write(&mut one, n));
        assert_eq!(all, here);
        assert_eq!(all[577 * n..][..n], one);
    }
}

//! How work is cut for the threads.

use rayon::prelude::*;

/// Numbers in a piece: a share of a core's cache, and long enough to outweigh a thread's wake-up.
const PIECE: usize = 1 << 14;

/// Rows of a piece, whatever the number of threads.
pub fn rows_of_a_piece(width: usize) -> usize {
    (PIECE / width.max(1)).max(1)
}

/// What is a number, or made of nothing else, whatever its bits.
pub(super) trait Number: Copy {}

impl Number for f32 {}
impl Number for u32 {}

/// A buffer whose numbers mean nothing yet: each of them must be written before any is read.
#[expect(unsafe_code, clippy::uninit_vec, reason = "filling pages twice takes as long as the work")]
#[expect(private_bounds, reason = "who may be a number is decided here")]
pub fn unwritten<T: Number>(len: usize) -> Vec<T> {
    let mut buffer = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and every bit pattern is a number.
    unsafe { buffer.set_len(len) };
    buffer
}

/// Calls `work` with the number of the first row and the rows of each piece of `matrix`.
pub fn for_rows(matrix: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let n_rows = rows_of_a_piece(width);
    if matrix.len() <= n_rows * width {
        return work(0, matrix);
    }
    let pieces = matrix.par_chunks_mut(n_rows * width).enumerate();
    pieces.for_each(|(piece, rows)| work(piece * n_rows, rows));
}

/// [`for_rows`] of two matrices with equally many rows.
pub fn for_rows_of_two(
    (first, first_width): (&mut [f32], usize),
    (second, second_width): (&mut [f32], usize),
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    let n_rows = rows_of_a_piece(first_width.max(second_width));
    if first.len() <= n_rows * first_width {
        return work(0, first, second);
    }
    let pieces = first
        .par_chunks_mut(n_rows * first_width)
        .zip(second.par_chunks_mut(n_rows * second_width))
        .enumerate();
    pieces.for_each(|(piece, (first, second))| work(piece * n_rows, first, second));
}

/// The sum of what `work` adds up over the rows of each piece of `matrix`, in the order of the
/// pieces.
pub fn sum_over_rows(
    matrix: &mut [f32],
    width: usize,
    n_sums: usize,
    work: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) -> Vec<f32> {
    let n_rows = rows_of_a_piece(width) * 4;
    let pieces = matrix.par_chunks_mut(n_rows * width).enumerate();
    let parts: Vec<Vec<f32>> = pieces
        .map(|(piece, rows)| {
            let mut sums = vec![0.0; n_sums];
            work(piece * n_rows, rows, &mut sums);
            sums
        })
        .collect();
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; n_sums]);
    for part in parts {
        total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
    }
    total
}

/// The sum of a matrix's rows.
pub fn sum_of_rows(matrix: &[f32], width: usize) -> Vec<f32> {
    let n_rows = rows_of_a_piece(width) * 4;
    let parts: Vec<Vec<f32>> = matrix
        .par_chunks(n_rows * width)
        .map(|rows| {
            let mut total = vec![0.0; width];
            rows.chunks_exact(width).for_each(|row| add(&mut total, row));
            total
        })
        .collect();
    let mut total = vec![0.0; width];
    parts.iter().for_each(|part| add(&mut total, part));
    total
}

fn add(total: &mut [f32], part: &[f32]) {
    total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
}

//! Matrix products: by strips where processors have AVX-512, by the gemm crate elsewhere and for
//! what is small.

use gemm::Parallelism;
use multiversion::multiversion;
use rayon::prelude::*;

use super::bf16;
use super::pieces::unwritten;
use super::strips::{self, Lanes};
use crate::settings::Precision;

/// Operations below which one thread is faster than several.
const FEW_OPERATIONS: usize = 1 << 18;
/// Rows of the left factor that are worth turning the right one.
const MANY_ROWS: usize = 48;
/// Rows and columns that are turned at once.
const TILE: usize = 16;

/// A matrix somewhere in a slice; transposed and cut ones are views, too.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f32],
    shape: [usize; 2],
    strides: [usize; 2],
}

impl<'a> View<'a> {
    /// A row-major matrix that begins with the slice; its rows begin `stride` numbers apart.
    ///
    /// # Panics
    /// A slice that is too short.
    pub fn new(data: &'a [f32], shape: [usize; 2], stride: usize) -> Self {
        assert!(shape[1] <= stride, "rows overlap");
        assert!(needed(shape, stride) <= data.len(), "the matrix ends beyond its slice");
        Self { data, shape, strides: [stride, 1] }
    }

    /// A row-major matrix that fills the slice.
    ///
    /// # Panics
    /// A slice of another length.
    pub fn whole(data: &'a [f32], shape: [usize; 2]) -> Self {
        assert_eq!(data.len(), shape[0] * shape[1], "a matrix fills its slice");
        Self::new(data, shape, shape[1])
    }

    /// Rows and columns.
    pub(super) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Its rows, as they are put in order for products in bf16.
    pub(super) fn lanes(self) -> Lanes<'a> {
        let ([n_lanes, n_inputs], [lane, input]) = (self.shape, self.strides);
        Lanes { data: self.data, n_lanes, n_inputs, lane, input }
    }

    /// Rows as columns.
    #[must_use]
    pub fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.shape, self.strides);
        Self { shape: [columns, rows], strides: [right, down], ..self }
    }

    /// Some of the columns.
    ///
    /// # Panics
    /// Columns that the matrix doesn't have.
    #[must_use]
    pub fn columns(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.shape[1], "the matrix has fewer columns");
        let data = &self.data[(first * self.strides[1]).min(self.data.len())..];
        Self { data, shape: [self.shape[0], count], ..self }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// Rows that the matrix doesn't have.
    #[must_use]
    pub fn rows(self, first: usize, count: usize) -> Self {
        self.transposed().columns(first, count).transposed()
    }
}

impl View<'_> {
    /// Whether its columns are what lies together: gemm takes twice as long for such a right factor as
    /// for one that lies in rows.
    fn lies_across(&self) -> bool {
        self.strides[0] == 1 && self.strides[1] > 1
    }

    /// The numbers of a matrix that lies across, row by row.
    fn in_rows(self, threads: Parallelism) -> Vec<f32> {
        let [n_rows, width] = self.shape;
        let mut turned = unwritten(n_rows * width);
        let copy = |(block, rows): (usize, &mut [f32])| {
            let from = self.rows(block * TILE, rows.len() / width);
            copy_across(from.data, from.strides[1], from.shape, rows);
        };
        match threads {
            Parallelism::None => turned.chunks_mut(TILE * width).enumerate().for_each(copy),
            Parallelism::Rayon(_) => turned.par_chunks_mut(TILE * width).enumerate().for_each(copy),
        }
        turned
    }
}

/// Copies columns that begin `stride` numbers apart, in tiles that fit into registers.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
fn copy_across(data: &[f32], stride: usize, [n_rows, width]: [usize; 2], rows: &mut [f32]) {
    let mut tile = [[0.0; TILE]; TILE];
    for first in (0..width).step_by(TILE) {
        let count = TILE.min(width - first);
        for (column, tile) in tile.iter_mut().enumerate().take(count) {
            tile[..n_rows].copy_from_slice(&data[(first + column) * stride..][..n_rows]);
        }
        for (row, numbers) in rows.chunks_exact_mut(width).enumerate() {
            for (number, column) in numbers[first..first + count].iter_mut().zip(&tile) {
                *number = column[row];
            }
        }
    }
}

/// Where a product goes: a row-major matrix whose rows begin `stride` numbers apart.
#[derive(Debug)]
pub struct Target<'a> {
    data: &'a mut [f32],
    stride: usize,
    adds: bool,
}

impl<'a> Target<'a> {
    /// Is overwritten.
    pub fn write(data: &'a mut [f32], stride: usize) -> Self {
        Self { data, stride, adds: false }
    }

    /// Is added to.
    pub fn add(data: &'a mut [f32], stride: usize) -> Self {
        Self { data, stride, adds: true }
    }

    /// Its beginning, the distance of its rows and whether it is added to, for a product of this shape.
    pub(super) fn for_shape(self, shape: [usize; 2]) -> (*mut f32, usize, bool) {
        assert!(shape[1] <= self.stride, "rows overlap");
        assert!(needed(shape, self.stride) <= self.data.len(), "the product ends beyond its slice");
        (self.data.as_mut_ptr(), self.stride, self.adds)
    }
}

/// `target = scale · a b`, on all threads if it is large.
///
/// # Panics
/// Shapes that don't fit together.
pub fn product(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>) {
    let threads = if is_small(a, b) { Parallelism::None } else { Parallelism::Rayon(0) };
    on_threads(a, b, scale, target, threads);
}

/// [`product`] with factors of this precision.
///
/// # Panics
/// Shapes that don't fit together.
pub fn product_in(precision: Precision, a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>) {
    match precision {
        Precision::F32 => product(a, b, scale, target),
        Precision::Bf16 => bf16::product(a, b, scale, target),
    }
}

/// [`product`] on this thread.
///
/// # Panics
/// Shapes that don't fit together.
pub fn product_here(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>) {
    on_threads(a, b, scale, target, Parallelism::None);
}

fn on_threads(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>, threads: Parallelism) {
    if strips::is_fast() && !is_small(a, b) {
        let on_all_threads = !matches!(threads, Parallelism::None);
        strips::product::<f32>(a, b, scale, target, on_all_threads);
    } else {
        by_gemm(a, b, scale, target, threads);
    }
}

/// Turns a right factor that lies across, where there are rows enough to make up for it; strips don't
/// mind.
fn by_gemm(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>, threads: Parallelism) {
    if is_small(a, b) || !b.lies_across() || a.shape[0] < MANY_ROWS {
        return call(a, b, scale, target, threads);
    }
    let turned = b.in_rows(threads);
    call(a, View::whole(&turned, b.shape), scale, target, threads);
}

/// Whether one thread is faster than several.
pub(super) fn is_small(a: View<'_>, b: View<'_>) -> bool {
    a.shape[0] * a.shape[1] * b.shape[1] < FEW_OPERATIONS
}

#[expect(unsafe_code, reason = "gemm takes pointers; the lengths of the slices are checked here")]
fn call(a: View<'_>, b: View<'_>, scale: f32, target: Target<'_>, threads: Parallelism) {
    let ([m, k], [k_too, n]) = (a.shape, b.shape);
    assert_eq!(k, k_too, "shapes don't fit together");
    let (target, stride, adds) = target.for_shape([m, n]);
    let ([a_down, a_right], [b_down, b_right]) = (a.strides, b.strides);
    // SAFETY: views hold all that their shapes and strides reach, and so does the target.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            target,
            1,
            stride as isize,
            adds,
            a.data.as_ptr(),
            a_right as isize,
            a_down as isize,
            b.data.as_ptr(),
            b_right as isize,
            b_down as isize,
            1.0,
            scale,
            false,
            false,
            false,
            threads,
        );
    }
}

/// Numbers that a row-major matrix reaches over.
fn needed([rows, columns]: [usize; 2], stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * stride + columns }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_and_targets() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut c = [1.0; 6];
        let whole = View::whole(&a, [2, 3]);
        product(whole, whole.transposed(), 2.0, Target::write(&mut c, 3));
        assert_eq!(c, [28.0, 64.0, 1.0, 64.0, 154.0, 1.0]);
        let corner = whole.columns(1, 2).rows(1, 1);
        product_here(corner, corner.transposed(), 1.0, Target::add(&mut c[2..], 1));
        assert_eq!(c[2], 62.0);
    }

    #[test]
    fn a_right_factor_that_lies_across() {
        // Neither a multiple of a tile.
        let [m, k, n] = [50, 83, 77];
        let numbers = |count: usize, step: usize| -> Vec<f32> {
            (0..count).map(|it| ((it * step) % 17) as f32 - 8.0).collect()
        };
        let (a, b) = (numbers(m * k, 5), numbers(n * k, 7));
        let view = View::whole(&b, [n, k]).transposed();
        assert!(!is_small(View::whole(&a, [m, k]), view) && view.lies_across());
        let whole_numbers = |row: usize, column: usize| -> f32 {
            (0..k).map(|it| a[row * k + it] * b[column * k + it]).sum()
        };
        for threads in [Parallelism::None, Parallelism::Rayon(0)] {
            let mut c = vec![1.0; m * n];
            by_gemm(View::whole(&a, [m, k]), view, 2.0, Target::add(&mut c, n), threads);
            for (place, c) in c.into_iter().enumerate() {
                assert_eq!(c, 1.0 + 2.0 * whole_numbers(place / n, place % n), "number {place}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "beyond its slice")]
    fn a_target_that_is_too_short() {
        let a = [1.0; 4];
        let whole = View::whole(&a, [2, 2]);
        product(whole, whole, 1.0, Target::write(&mut [0.0; 3], 2));
    }
}

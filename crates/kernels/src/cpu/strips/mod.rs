//! Matrix products of factors that are put in order first.
//!
//! A strip has some lanes: [`ROWS`] rows of the left factor or [`COLUMNS`] columns of the right one. It
//! holds a [`Unit`] of each lane, then the next unit of each, and so on, `[units, lanes]`, which is what
//! a tile reads from front to back with its sums in registers. Lanes and inputs that don't exist are 0.
//!
//! Each number of a product is summed in the order of its inputs, whatever stands beside it: a row has
//! the same bits in any batch and on any number of threads.

use super::pieces::Number;

mod lanes;
mod product;
mod single;
mod write;

pub(super) use lanes::Lanes;
#[cfg(target_arch = "x86_64")]
pub(super) use lanes::avx512;
pub(super) use product::product;
#[cfg(target_arch = "x86_64")]
pub(super) use write::write;

/// Rows of a strip on the left.
pub(super) const ROWS: usize = 12;
/// Columns of a strip on the right.
pub(super) const COLUMNS: usize = 32;

/// Rows that begin so many units apart, or a multiple, fall on the same lines of a cache.
pub(super) const SAME_LINES: usize = 512;

/// What each column's sum begins with.
pub(super) type Begin = [f32; COLUMNS];

/// What strips are made of: one input of a lane in f32, or two in bf16.
pub(super) trait Unit: Number + Send + Sync {
    /// Inputs of a unit.
    const INPUTS: usize;

    /// Writes a strip of `WIDTH` lanes.
    ///
    /// # Panics
    /// A strip of another length, and lanes that end beyond their slice.
    fn fill<const WIDTH: usize>(strip: &mut [Self], from: Lanes<'_>);

    /// Writes one lane's inputs, one unit after the other; an input that is missing is 0.
    fn fill_row(row: &mut [Self], inputs: &[f32]);

    /// Lanes as they lie, where a tile can read them so.
    fn as_they_lie(_lanes: Lanes<'_>) -> Option<&[Self]> {
        None
    }

    /// Multiplies some rows by some columns, each of so many units.
    ///
    /// # Safety
    /// The rows and columns of `place` must be writable and nobody else's, and no more than
    /// [`ROWS`] and [`COLUMNS`].
    ///
    /// # Panics
    /// Rows or columns that end beyond their slices.
    #[expect(unsafe_code, reason = "the output is shared by threads")]
    unsafe fn multiply(
        rows: Rows<'_, Self>,
        columns: Columns<'_, Self>,
        n_units: usize,
        begin: &Begin,
        place: Place,
    );
}

/// Rows of a left factor, at most [`ROWS`] of which a tile takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a, U> {
    /// Begins with the first row's first unit.
    pub(super) data: &'a [U],
    /// How far rows are apart.
    pub(super) row: usize,
    /// How far a row's units are apart.
    pub(super) unit: usize,
}

impl<'a, U> Rows<'a, U> {
    /// Those of a strip.
    pub(super) fn of_strip(strip: &'a [U]) -> Self {
        Self { data: strip, row: 1, unit: ROWS }
    }

    /// # Panics
    /// So many units of so many rows end beyond the slice.
    #[inline]
    pub(super) fn check(&self, n_rows: usize, n_units: usize) {
        let last = n_rows.saturating_sub(1) * self.row + n_units.saturating_sub(1) * self.unit;
        assert!(n_units == 0 || last < self.data.len(), "rows end beyond their slice");
    }
}

/// Columns of a right factor, [`COLUMNS`] side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a, U> {
    /// Begins with the first column's first unit.
    pub(super) data: &'a [U],
    /// How far a column's units are apart.
    pub(super) unit: usize,
}

impl<'a, U> Columns<'a, U> {
    /// Those of a strip.
    pub(super) fn of_strip(strip: &'a [U]) -> Self {
        Self { data: strip, unit: COLUMNS }
    }

    /// # Panics
    /// So many units end beyond the slice.
    #[inline]
    pub(super) fn check(&self, n_units: usize) {
        let end = n_units.saturating_sub(1) * self.unit + COLUMNS;
        assert!(n_units == 0 || end <= self.data.len(), "columns end beyond their slice");
    }
}

/// Where a tile's sums go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The first row's first column.
    pub(super) target: *mut f32,
    /// How far rows are apart.
    pub(super) stride: usize,
    /// Rows and columns that exist.
    pub(super) shape: [usize; 2],
    /// The sums are multiplied by it.
    pub(super) scale: f32,
    /// Whether they are added to what stands there.
    pub(super) adds: bool,
}

/// Whether this processor has the vectors that strips of f32 are made for.
pub(super) fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

//! Products of matrices that lie in f32, cut into blocks.

use std::iter::repeat_with;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rayon::prelude::*;

use super::{COLUMNS, Columns, Lanes, Place, ROWS, Rows, SAME_LINES, Unit};
use crate::cpu::matmul::{Target, View};
use crate::cpu::pieces::unwritten;

/// Units that are summed before sums go to memory: strips of them stay in a core's cache.
const BLOCK_UNITS: usize = 512;
/// Strips of rows that meet the same columns before the next ones are put in order, and strips of
/// columns that a thread puts in order at a time.
const BLOCK: [usize; 2] = [43, 4];
/// Strips of rows that make up for columns that are put in order for them.
const FEW_ROWS: usize = 11;
/// Tasks of a thread.
const TASKS: usize = 6;
/// Units of columns that are put in order at a time.
const PIECE: usize = 32;
/// Numbers within which columns that lie side by side are read as they lie: beyond, each input is on
/// a page of its own.
const NEAR: usize = 1 << 17;

/// `target = scale · a b` with factors in units of this kind.
///
/// # Panics
/// Shapes that don't fit together.
pub(crate) fn product<U: Unit>(
    a: View<'_>,
    b: View<'_>,
    scale: f32,
    target: Target<'_>,
    on_all_threads: bool,
) {
    Product::<U>::new(a, b, scale, target).run(on_all_threads);
}

/// What all threads know. Each number of the target is summed in the same order whoever does it.
struct Product<'a, U> {
    /// The rows of the left factor.
    rows: Lanes<'a>,
    /// The columns of the right factor.
    columns: Lanes<'a>,
    scale: f32,
    target: *mut f32,
    stride: usize,
    adds: bool,
    unit: PhantomData<U>,
}

/// All rows of the left factor, as tiles read them.
#[derive(Clone, Copy)]
struct OrderedRows<'a, U> {
    rows: Rows<'a, U>,
    /// How far the first rows of strips are apart.
    strip: usize,
}

impl<'a, U> OrderedRows<'a, U> {
    /// A strip's rows, from this unit on.
    fn from(self, strip: usize, unit: usize) -> Rows<'a, U> {
        let Rows { data, unit: apart, .. } = self.rows;
        Rows { data: &data[strip * self.strip + unit * apart..], ..self.rows }
    }
}

#[expect(unsafe_code, reason = "threads share one output")]
// SAFETY: each tile writes to its own rows and columns of the target.
unsafe impl<U> Sync for Product<'_, U> {}

impl<'a, U: Unit> Product<'a, U> {
    fn new(a: View<'a>, b: View<'a>, scale: f32, target: Target<'a>) -> Self {
        let ([m, k], [k_too, n]) = (a.shape(), b.shape());
        assert_eq!(k, k_too, "shapes don't fit together");
        let (target, stride, adds) = target.for_shape([m, n]);
        let (rows, columns) = (a.lanes(), b.transposed().lanes());
        Self { rows, columns, scale, target, stride, adds, unit: PhantomData }
    }

    fn run(&self, on_all_threads: bool) {
        if self.rows.n_lanes * self.columns.n_lanes == 0 {
            return;
        }
        let n_units = self.rows.n_inputs.div_ceil(U::INPUTS);
        let in_order;
        let rows = match U::as_they_lie(self.rows) {
            Some(data) => {
                let Lanes { lane, input, .. } = self.rows;
                OrderedRows { rows: Rows { data, row: lane, unit: input }, strip: ROWS * lane }
            }
            None if self.rows.input == 1 => {
                // Some units more keep rows from falling on the same lines of a cache.
                let row = n_units + if n_units.is_multiple_of(SAME_LINES) { COLUMNS } else { 0 };
                in_order = self.row_by_row(n_units, row, on_all_threads);
                let rows = Rows { data: &in_order, row, unit: 1 };
                OrderedRows { rows, strip: ROWS * row }
            }
            None => {
                in_order = self.row_strips(n_units, on_all_threads);
                OrderedRows { rows: Rows::of_strip(&in_order), strip: n_units * ROWS }
            }
        };
        let n_strips = [&self.rows, &self.columns].map(|it| it.n_lanes);
        let n_strips = [n_strips[0].div_ceil(ROWS), n_strips[1].div_ceil(COLUMNS)];
        let [height, width] = if on_all_threads { shares(n_strips) } else { BLOCK };
        let block = |room: &mut Vec<U>, task: usize| {
            let n_row_blocks = n_strips[0].div_ceil(height);
            let (row, column) = (task % n_row_blocks * height, task / n_row_blocks * width);
            let row_strips = row..(row + height).min(n_strips[0]);
            self.block(rows, row_strips, column..(column + width).min(n_strips[1]), room);
        };
        let n_tasks = n_strips[0].div_ceil(height) * n_strips[1].div_ceil(width);
        let next = AtomicUsize::new(0);
        let work = |_| {
            let mut room = Vec::new();
            let tasks = repeat_with(|| next.fetch_add(1, Relaxed));
            tasks.take_while(|task| *task < n_tasks).for_each(|task| block(&mut room, task));
        };
        if on_all_threads {
            let n_threads = rayon::current_num_threads().min(n_tasks);
            (0..n_threads).into_par_iter().with_max_len(1).for_each(work);
        } else {
            work(0);
        }
    }

    /// The rows one after the other.
    fn row_by_row(&self, n_units: usize, row: usize, on_all_threads: bool) -> Vec<U> {
        let Lanes { data, n_lanes, n_inputs, lane, .. } = self.rows;
        let mut rows = unwritten(n_lanes * row);
        let fill = |(strip, rows): (usize, &mut [U])| {
            for (index, row) in rows.chunks_exact_mut(row.max(1)).enumerate() {
                let inputs = &data[(strip * ROWS + index) * lane..][..n_inputs];
                U::fill_row(&mut row[..n_units], inputs);
            }
        };
        let len = (row * ROWS).max(1);
        if on_all_threads {
            rows.par_chunks_mut(len).enumerate().for_each(fill);
        } else {
            rows.chunks_mut(len).enumerate().for_each(fill);
        }
        rows
    }

    /// The rows in strips.
    fn row_strips(&self, n_units: usize, on_all_threads: bool) -> Vec<U> {
        let mut strips = unwritten(self.rows.n_lanes.div_ceil(ROWS) * n_units * ROWS);
        let len = (n_units * ROWS).max(1);
        let fill = |(strip, units): (usize, &mut [U])| {
            let first = strip * ROWS;
            let count = ROWS.min(self.rows.n_lanes - first);
            U::fill::<ROWS>(units, self.rows.part((first, count), (0, self.rows.n_inputs)));
        };
        if on_all_threads {
            strips.par_chunks_exact_mut(len).enumerate().for_each(fill);
        } else {
            strips.chunks_exact_mut(len).enumerate().for_each(fill);
        }
        strips
    }

    /// A block of rows, the first strip of which is `first`, by some strips of columns.
    fn block(
        &self,
        rows: OrderedRows<'_, U>,
        row_strips: Range<usize>,
        strips: Range<usize>,
        room: &mut Vec<U>,
    ) {
        let n_units = self.rows.n_inputs.div_ceil(U::INPUTS);
        // Without inputs, sums are 0 and written, too.
        for unit in (0..n_units.max(1)).step_by(BLOCK_UNITS) {
            let count = BLOCK_UNITS.min(n_units - unit);
            self.fill_columns(strips.clone(), (unit, count), room);
            for row_strip in row_strips.clone() {
                let rows = rows.from(row_strip, unit);
                for (index, strip) in strips.clone().enumerate() {
                    let columns = self.columns_as_they_lie(strip, unit).unwrap_or_else(|| {
                        Columns::of_strip(&room[index * count * COLUMNS..][..count * COLUMNS])
                    });
                    self.tile([row_strip, strip], (rows, columns, count), unit > 0);
                }
            }
        }
    }

    /// A strip's columns where they lie, if all of them are there and can be read so.
    fn columns_as_they_lie(&self, strip: usize, unit: usize) -> Option<Columns<'_, U>> {
        let Lanes { n_lanes, n_inputs, lane, input, .. } = self.columns;
        let is_near = n_inputs.min(BLOCK_UNITS) * input <= NEAR;
        let fits = lane == 1 && is_near && (strip + 1) * COLUMNS <= n_lanes;
        let data = fits.then(|| U::as_they_lie(self.columns)).flatten()?;
        Some(Columns { data: &data[strip * COLUMNS + unit * input..], unit: input })
    }

    fn fill_columns(&self, strips: Range<usize>, (unit, count): (usize, usize), room: &mut Vec<U>) {
        if room.is_empty() {
            // Always as large, so that threads use each other's again.
            *room = unwritten(BLOCK[1] * BLOCK_UNITS * COLUMNS);
        }
        // Columns that lie side by side are read together, a few inputs at a time.
        let piece = if self.columns.lane == 1 { PIECE } else { count };
        for begin in (0..count).step_by(piece.max(1)) {
            let piece = piece.min(count - begin);
            let input = U::INPUTS * (unit + begin);
            let n_inputs = (U::INPUTS * piece).min(self.columns.n_inputs - input);
            for (strip, room) in strips.clone().zip(room.chunks_exact_mut(count * COLUMNS)) {
                if self.columns_as_they_lie(strip, unit).is_none() {
                    let first = strip * COLUMNS;
                    let n_lanes = COLUMNS.min(self.columns.n_lanes - first);
                    let room = &mut room[begin * COLUMNS..][..piece * COLUMNS];
                    let columns = self.columns.part((first, n_lanes), (input, n_inputs));
                    U::fill::<COLUMNS>(room, columns);
                }
            }
        }
    }

    #[expect(unsafe_code, reason = "threads share one output")]
    fn tile(
        &self,
        [row_strip, strip]: [usize; 2],
        (rows, columns, n_units): (Rows<'_, U>, Columns<'_, U>, usize),
        is_later: bool,
    ) {
        let (row, column) = (row_strip * ROWS, strip * COLUMNS);
        let shape = [ROWS.min(self.rows.n_lanes - row), COLUMNS.min(self.columns.n_lanes - column)];
        // SAFETY: the target holds all rows and columns, which was checked when it was taken, and this
        // tile of it is written by nobody else at the time.
        unsafe {
            let target = self.target.add(row * self.stride + column);
            let (stride, scale, adds) = (self.stride, self.scale, self.adds || is_later);
            U::multiply(
                rows,
                columns,
                n_units,
                &[0.0; COLUMNS],
                Place { target, stride, shape, scale, adds },
            );
        }
    }
}

/// How many strips of rows and of columns a thread takes at a time: few enough that all threads have
/// many times something to do, of about the same size.
fn shares(n_strips: [usize; 2]) -> [usize; 2] {
    let enough = TASKS * rayon::current_num_threads();
    let cut = |most: [usize; 2]| {
        let evenly = |count: usize, most: usize| count.div_ceil(count.div_ceil(most).max(1));
        [evenly(n_strips[0], most[0]), evenly(n_strips[1], most[1])]
    };
    let [mut height, mut width] = cut(BLOCK);
    for [least_height, least_width] in [[FEW_ROWS, 2], [1, 1]] {
        let is_enough = |height: usize, width: usize| {
            n_strips[0].div_ceil(height) * n_strips[1].div_ceil(width) >= enough
        };
        while !is_enough(height, width) && height > least_height {
            [height, _] = cut([(height / 2).max(least_height), width]);
        }
        while !is_enough(height, width) && width > least_width {
            [_, width] = cut([height, width / 2]);
        }
    }
    [height, width]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::bf16::Pair;

    fn numbers(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + salt * 11) as f32 * 0.37).sin() * 3.0).collect()
    }

    /// `target = scale · a b`, as stored or transposed, against sums in f64 of the f32 numbers: within
    /// what both roundings of factors may do, each of half a `unit`, and those of sums.
    fn check<U: Unit>([m, k, n]: [usize; 3], turned: [bool; 2], adds: bool, unit: f64) {
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
        product::<U>(
            view(&a, [m, k], turned[0]),
            view(&b, [k, n], turned[1]),
            0.5,
            target,
            m % 2 == 0,
        );
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k)
                    .map(|l| at(&a, [m, k], [i, l], turned[0]) * at(&b, [k, n], [l, j], turned[1]));
                let (sum, size) = terms.fold((0.0, 0.0), |(s, t), it| (s + it, t + it.abs()));
                let want = 0.5 * sum + if adds { 0.25 } else { 0.0 };
                let error = (f64::from(c[i * stride + j]) - want).abs();
                let bound = 0.5 * size * (unit + k as f64 * 2.0_f64.powi(-24)) + 1e-7;
                assert!(error <= bound, "{error} is beyond {bound}: {m} {k} {n}, {turned:?}");
            }
            assert_eq!(c[i * stride + n..][..5], [0.25; 5], "nothing is written beyond");
        }
    }

    fn check_shapes<U: Unit>(unit: f64) {
        for turned in [[false, false], [false, true], [true, false], [true, true]] {
            for shape in [[1, 1, 1], [5, 7, 9], [13, 33, 40], [12, 64, 32], [70, 130, 100]] {
                check::<U>(shape, turned, false, unit);
                check::<U>(shape, turned, true, unit);
            }
            // Several blocks of inputs, and of rows; rows and columns that fall on the same lines of a
            // cache, and columns of which each input is far from the next.
            check::<U>([14, 1030, 35], turned, false, unit);
            check::<U>([530, 20, 33], turned, true, unit);
            check::<U>([512, 40, 70], turned, false, unit);
            check::<U>([30, 512, 600], turned, true, unit);
        }
    }

    #[test]
    fn products_of_f32_are_within_the_rounding_of_sums() {
        check_shapes::<f32>(0.0);
    }

    #[test]
    fn products_of_bf16_are_within_the_bound_of_two_roundings() {
        check_shapes::<Pair>(2.0_f64.powi(-8));
    }

    /// Neither the other rows nor the threads change a row's bits.
    fn check_rows<U: Unit>() {
        let (m, k, n) = (600, 300, 150);
        let (a, b) = (numbers(m * k, 3), numbers(k * n, 4));
        let [mut all, mut here, mut one] = [vec![0.0; m * n], vec![0.0; m * n], vec![0.0; n]];
        let (a, b) = (View::whole(&a, [m, k]), View::whole(&b, [k, n]));
        product::<U>(a, b, 1.0, Target::write(&mut all, n), true);
        product::<U>(a, b, 1.0, Target::write(&mut here, n), false);
        product::<U>(a.rows(577, 1), b, 1.0, Target::write(&mut one, n), false);
        assert_eq!(all, here);
        assert_eq!(all[577 * n..][..n], one);
    }

    #[test]
    fn rows_do_not_depend_on_each_other_or_on_threads() {
        check_rows::<f32>();
        check_rows::<Pair>();
    }

    #[test]
    fn no_inputs_and_no_rows() {
        let mut target = [3.0; 4];
        let nothing = View::whole(&[], [2, 0]);
        product::<f32>(nothing, nothing.transposed(), 1.0, Target::write(&mut target, 2), false);
        assert_eq!(target, [0.0; 4]);
        let nothing = View::whole(&[], [0, 2]);
        product::<f32>(nothing, nothing.transposed(), 1.0, Target::write(&mut [], 0), true);
    }
}

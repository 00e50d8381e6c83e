use rein_kernels::cpu::packed::{Packed, Rows, Sink, Threads};

/// Rows of numbers, apart enough that a tile's rows don't compete for the same lines of the cache.
#[derive(Debug, Default)]
pub(super) struct Grid {
    data: Vec<f32>,
    width: usize,
    stride: usize,
}

/// Cache lines are this many numbers wide.
const LINE: usize = 16;

impl Grid {
    /// Makes room for rows; what stands in them means nothing.
    pub(super) fn shape(&mut self, n_rows: usize, width: usize) -> &mut Self {
        self.width = width;
        self.stride = width.next_multiple_of(LINE) + LINE;
        if self.data.len() < n_rows * self.stride {
            self.data.resize(n_rows * self.stride, 0.0);
        }
        self
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.stride..][..self.width]
    }

    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.stride..][..self.width]
    }

    /// The first rows, each as long as they are apart.
    pub(super) fn strided_mut(&mut self, n_rows: usize) -> (usize, &mut [f32]) {
        (self.stride, &mut self.data[..n_rows * self.stride])
    }

    /// `self = input · weights + bias` of the first rows.
    pub(super) fn product(
        &mut self,
        input: &Self,
        n_rows: usize,
        weights: &Packed,
        threads: Threads,
    ) {
        self.shape(n_rows, weights.n_out());
        self.multiply(input, n_rows, weights, threads, false);
    }

    /// `self += input · weights + bias` of the first rows.
    pub(super) fn add_product(
        &mut self,
        input: &Self,
        n_rows: usize,
        weights: &Packed,
        threads: Threads,
    ) {
        self.multiply(input, n_rows, weights, threads, true);
    }

    fn multiply(
        &mut self,
        input: &Self,
        n_rows: usize,
        weights: &Packed,
        threads: Threads,
        adds: bool,
    ) {
        let rows = Rows { data: &input.data, stride: input.stride, count: n_rows };
        let sink = Sink { data: &mut self.data, stride: self.stride, adds };
        weights.multiply(rows, sink, threads);
    }
}

//! Small symmetric matrices on the host, in double precision.

/// A matrix as its rows.
pub(crate) type Matrix = Vec<Vec<f64>>;

/// `L` of a symmetric, positive definite matrix `A = L Lᵀ`.
#[derive(Debug)]
pub(crate) struct Cholesky(Matrix);

impl Cholesky {
    /// Factors a matrix, of which only the lower half is read; `None` if it isn't positive definite.
    pub(crate) fn of(matrix: &Matrix) -> Option<Self> {
        let mut lower: Matrix = Vec::with_capacity(matrix.len());
        for (i, row) in matrix.iter().enumerate() {
            let mut next: Vec<f64> = Vec::with_capacity(i + 1);
            for j in 0..i {
                next.push((row[j] - dot(&next[..j], &lower[j][..j])) / lower[j][j]);
            }
            let square = row[i] - dot(&next, &next);
            // False for NaN, too.
            if !(square > 0.0 && square.is_finite()) {
                return None;
            }
            next.push(square.sqrt());
            lower.push(next);
        }
        Some(Self(lower))
    }

    /// `A⁻¹ b`
    pub(crate) fn solve(&self, right: &[f64]) -> Vec<f64> {
        let lower = &self.0;
        let mut x = self.half(right);
        for i in (0..x.len()).rev() {
            let below: f64 = (i + 1..x.len()).map(|j| lower[j][i] * x[j]).sum();
            x[i] = (x[i] - below) / lower[i][i];
        }
        x
    }

    /// `L⁻¹ b`, whose square is `bᵀ A⁻¹ b`
    pub(crate) fn half(&self, right: &[f64]) -> Vec<f64> {
        let mut x: Vec<f64> = Vec::with_capacity(right.len());
        for (row, right) in self.0.iter().zip(right) {
            let i = x.len();
            x.push((right - dot(&row[..i], &x)) / row[i]);
        }
        x
    }

    /// `A⁻¹`
    pub(crate) fn inverse(&self) -> Matrix {
        let size = self.0.len();
        let column = |at: usize| {
            let mut unit = vec![0.0; size];
            unit[at] = 1.0;
            self.solve(&unit)
        };
        (0..size).map(column).collect()
    }

    /// `ln det A`
    pub(crate) fn ln_determinant(&self) -> f64 {
        2.0 * self.0.iter().enumerate().map(|(i, row)| row[i].ln()).sum::<f64>()
    }
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `A x`
pub(crate) fn times(matrix: &[Vec<f64>], vector: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| dot(row, vector)).collect()
}

/// `xᵀ A x`
pub(crate) fn quadratic(matrix: &[Vec<f64>], vector: &[f64]) -> f64 {
    dot(vector, &times(matrix, vector))
}

/// `c I`
pub(crate) fn diagonal(size: usize, value: f64) -> Matrix {
    (0..size).map(|i| (0..size).map(|j| if i == j { value } else { 0.0 }).collect()).collect()
}

/// Adds `weight · x xᵀ` to a matrix.
pub(crate) fn add_square(matrix: &mut Matrix, weight: f64, vector: &[f64]) {
    for (row, x) in matrix.iter_mut().zip(vector) {
        add(row, weight * x, vector);
    }
}

/// Adds `weight · x` to a vector.
pub(crate) fn add(to: &mut [f64], weight: f64, vector: &[f64]) {
    to.iter_mut().zip(vector).for_each(|(to, x)| *to += weight * x);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factored_matrix_is_solved_inverted_and_measured() {
        let matrix = vec![vec![4.0, 2.0], vec![2.0, 3.0]];
        let factor = Cholesky::of(&matrix).expect("is positive definite");
        // det = 8; A⁻¹ = [[3, −2], [−2, 4]] / 8
        assert!((factor.ln_determinant() - 8.0_f64.ln()).abs() < 1e-12);
        let want = [[0.375, -0.25], [-0.25, 0.5]];
        for (row, want) in factor.inverse().iter().zip(want) {
            assert!(row.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-12));
        }
        let x = factor.solve(&[2.0, -1.0]);
        assert!(times(&matrix, &x).iter().zip([2.0, -1.0]).all(|(a, b)| (a - b).abs() < 1e-12));
        for other in [vec![vec![1.0, 2.0], vec![2.0, 1.0]], vec![vec![f64::NAN]], vec![vec![0.0]]] {
            assert!(Cholesky::of(&other).is_none());
        }
    }
}

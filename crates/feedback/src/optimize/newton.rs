use nalgebra::{DMatrix, DVector};

use super::Top;

const MAX_ITERATIONS: usize = 200;
const MAX_HALVINGS: usize = 40;
/// A climb ends once a step promises to gain no more nats than this.
const TOLERANCE: f64 = 1e-20;
/// Differences of values below this share of them are rounding.
const ROUNDING: f64 = 1e-14;

/// A concave function's value, gradient and negated Hessian.
pub(crate) struct Local {
    pub(crate) value: f64,
    pub(crate) gradient: DVector<f64>,
    pub(crate) curvature: DMatrix<f64>,
}

/// The top of a concave function by Newton's method with halved steps. In directions in which it is flat nothing
/// moves.
pub(crate) fn newton(start: Vec<f64>, function: impl Fn(&[f64]) -> Local) -> (Top, DMatrix<f64>) {
    let mut at = DVector::from_vec(start);
    let mut local = function(at.as_slice());
    for n_iterations in 0..MAX_ITERATIONS {
        let step = solve(&local.curvature, &local.gradient);
        let converged = step.dot(&local.gradient) <= TOLERANCE * (1.0 + local.value.abs());
        let next = if converged { None } else { search(&at, &local, &step, &function) };
        let Some((next, next_local)) = next else {
            let top =
                Top { at: at.as_slice().to_vec(), value: local.value, n_iterations, converged };
            return (top, local.curvature);
        };
        (at, local) = (next, next_local);
    }
    let top = Top {
        at: at.as_slice().to_vec(),
        value: local.value,
        n_iterations: MAX_ITERATIONS,
        converged: false,
    };
    (top, local.curvature)
}

fn search(
    at: &DVector<f64>,
    local: &Local,
    step: &DVector<f64>,
    function: &impl Fn(&[f64]) -> Local,
) -> Option<(DVector<f64>, Local)> {
    let mut length = 1.0;
    for _ in 0..MAX_HALVINGS {
        let next = at + step * length;
        let next_local = function(next.as_slice());
        if next_local.value >= local.value - ROUNDING * local.value.abs() {
            return Some((next, next_local));
        }
        length *= 0.5;
    }
    None
}

/// By Cholesky where the curvature is definite, and with its pseudo-inverse where it isn't.
fn solve(curvature: &DMatrix<f64>, gradient: &DVector<f64>) -> DVector<f64> {
    match curvature.clone().cholesky() {
        Some(factor) if is_definite(&factor.l().diagonal()) => factor.solve(gradient),
        _ => pseudo_inverse(curvature) * gradient,
    }
}

/// Whether pivots are more than what rounding leaves of zeros.
fn is_definite(pivots: &DVector<f64>) -> bool {
    pivots.is_empty() || pivots.min() > 1e-6 * pivots.max()
}

/// The pseudo-inverse of a symmetric matrix (Moore and Penrose): eigenvalues that are 0 up to rounding stay 0. NaN of
/// what isn't finite, on which the search for eigenvalues wouldn't end.
pub(crate) fn pseudo_inverse(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let n = matrix.nrows();
    if n == 0 {
        return matrix.clone();
    }
    if !matrix.iter().all(|it| it.is_finite()) {
        return DMatrix::from_element(n, n, f64::NAN);
    }
    let eigen = matrix.clone().symmetric_eigen();
    let largest = eigen.eigenvalues.iter().fold(0.0_f64, |most, it| most.max(it.abs()));
    let least = largest * n as f64 * 1e-14;
    let inverted = eigen.eigenvalues.map(|it| if it.abs() > least { 1.0 / it } else { 0.0 });
    &eigen.eigenvectors * DMatrix::from_diagonal(&inverted) * eigen.eigenvectors.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_singular_matrix_has_a_pseudo_inverse() {
        // [[1, −1], [−1, 1]] has eigenvalues 2 and 0.
        let inverse = pseudo_inverse(&DMatrix::from_row_slice(2, 2, &[1.0, -1.0, -1.0, 1.0]));
        let expected = DMatrix::from_row_slice(2, 2, &[0.25, -0.25, -0.25, 0.25]);
        assert!((inverse - expected).norm() < 1e-12);
    }

    #[test]
    fn long_steps_are_halved() {
        // −√(1 + x²): a full step from x goes to −x³.
        let (top, _) = newton(vec![3.0], |at| {
            let x = at[0];
            let root = (1.0 + x * x).sqrt();
            Local {
                value: -root,
                gradient: DVector::from_vec(vec![-x / root]),
                curvature: DMatrix::from_element(1, 1, root.powi(-3)),
            }
        });
        assert!(top.converged && top.at[0].abs() < 1e-7, "{top:?}");
    }
}

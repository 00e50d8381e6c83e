/// Residuals this small, relative to the right-hand side, are as good as none.
const TOLERANCE: f64 = 1e-6;

/// What conjugate gradients found.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution {
    /// `x`, about `A⁻¹ b`.
    pub x: Vec<f32>,
    /// `xᵀ A x`
    pub curvature: f64,
    /// `‖b − A x‖ / ‖b‖`, as the recurrence has it.
    pub residual: f64,
    /// Products that were needed.
    pub n_products: usize,
}

/// Solves `A x = b` for a symmetric positive definite matrix that is known by its products with vectors
/// (Hestenes and Stiefel, 1952; Nocedal and Wright, 2006, algorithm 5.2). Inner products are summed in
/// double precision.
///
/// It ends after `max_products`, at a residual of 10⁻⁶ of `‖b‖`, or along a direction in which the matrix
/// isn't positive; then `x` is what the directions before gave.
///
/// # Shapes
/// - `b`, what `product` takes and gives: `[n_values]`
pub fn conjugate_gradient(
    mut product: impl FnMut(&[f32]) -> Vec<f32>,
    b: &[f32],
    max_products: usize,
) -> Solution {
    let (mut x, mut residual, mut direction) = (vec![0.0; b.len()], b.to_vec(), b.to_vec());
    let b_square = dot(b, b);
    let mut square = b_square;
    let mut n_products = 0;
    while n_products < max_products && square > TOLERANCE * TOLERANCE * b_square {
        let image = product(&direction);
        n_products += 1;
        let curvature = dot(&direction, &image);
        let is_positive = curvature > 0.0;
        if !is_positive {
            break;
        }
        let length = square / curvature;
        add_scaled(&mut x, length, &direction);
        add_scaled(&mut residual, -length, &image);
        let next_square = dot(&residual, &residual);
        let kept = (next_square / square) as f32;
        direction.iter_mut().zip(&residual).for_each(|(it, rest)| *it = rest + kept * *it);
        square = next_square;
    }
    // A x = b − r, so the last product needs none of its own.
    let curvature = dot(&x, b) - dot(&x, &residual);
    let relative = if b_square > 0.0 { (square / b_square).sqrt() } else { 0.0 };
    Solution { x, curvature, residual: relative, n_products }
}

/// `√(2 δ / xᵀ A x)`: how many times `x` leads to the edge of the trust region, as far as the divergence is
/// the quadratic form of `A` (Schulman et al., 2015, appendix C). Infinite or NaN where `xᵀ A x` isn't
/// positive.
///
/// `max_kl` and the quadratic form are in nats.
pub fn step_length(max_kl: f64, curvature: f64) -> f64 {
    (2.0 * max_kl / curvature).sqrt()
}

/// `aᵀ b`, summed in double precision.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// `‖a‖`
pub(super) fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

/// `to + scale · what`
pub(super) fn add_scaled(to: &mut [f32], scale: f64, what: &[f32]) {
    let add = |(to, what): (&mut f32, &f32)| {
        *to = (f64::from(*to) + scale * f64::from(*what)) as f32;
    };
    to.iter_mut().zip(what).for_each(add);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[[4, 1], [1, 3]] x = [1, 2]` has the solution `[1, 7] / 11`, with `xᵀ A x = xᵀ b = 15 / 11`.
    #[test]
    fn two_products_solve_two_equations() {
        let product = |v: &[f32]| vec![4.0 * v[0] + v[1], v[0] + 3.0 * v[1]];
        let solution = conjugate_gradient(product, &[1.0, 2.0], 10);
        assert_eq!(solution.n_products, 2);
        assert!((solution.x[0] - 1.0 / 11.0).abs() < 1e-6, "{solution:?}");
        assert!((solution.x[1] - 7.0 / 11.0).abs() < 1e-6, "{solution:?}");
        assert!((solution.curvature - 15.0 / 11.0).abs() < 1e-6, "{solution:?}");
        assert!(solution.residual < 1e-6, "{solution:?}");
    }

    #[test]
    fn nothing_is_solved_where_the_matrix_is_not_positive() {
        for factor in [-1.0, 0.0, f32::NAN] {
            let product = |v: &[f32]| v.iter().map(|it| it * factor).collect();
            let solution = conjugate_gradient(product, &[1.0, 2.0], 10);
            assert_eq!((solution.x, solution.n_products), (vec![0.0, 0.0], 1), "{factor}");
            assert_eq!((solution.curvature, solution.residual), (0.0, 1.0), "{factor}");
        }
    }

    #[test]
    fn zero_needs_no_product() {
        let solution = conjugate_gradient(|v: &[f32]| v.to_vec(), &[0.0; 3], 10);
        assert_eq!((solution.n_products, solution.residual), (0, 0.0));
    }

    /// `δ = ½ s² xᵀAx` with `s = 2`: `0.02 = ½ · 4 · 0.01`.
    #[test]
    fn the_step_leads_to_the_edge_of_the_quadratic_region() {
        assert!((step_length(0.02, 0.01) - 2.0).abs() < 1e-12);
        assert!(!step_length(0.02, 0.0).is_finite());
        assert!(!step_length(0.02, -1.0).is_finite());
    }
}

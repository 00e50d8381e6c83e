//! Functions of one number that compilers turn into vector code, and sums in a fixed order.
//!
//! They are inlined into loops that are compiled for the processor at hand; none of them branches.

/// Numbers added up side by side.
const LANES: usize = 16;

/// What [`exp`] is not 0 of, and not limited.
pub(super) const LOWEST: f32 = -87.3;
pub(super) const HIGHEST: f32 = 88.0;
/// The logarithm of 2 in two parts, of which multiples of the first are exact.
pub(super) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `1.5 · 2²³`: adding it leaves no bits for a fraction.
pub(super) const WHOLE: f32 = 12_582_912.0;
/// `(eʳ − 1 − r) / r²`
pub(super) const SERIES: [f32; 6] =
    [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// `eˣ` to within 2 units in the last place (Cephes' `expf`): `2ⁿ · p(x − n ln 2)`.
/// 0 below −87.3, and at most `e⁸⁸`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let inside = x.clamp(LOWEST, HIGHEST);
    let shifted = inside * std::f32::consts::LOG2_E + WHOLE;
    let n = shifted - WHOLE;
    let rest = inside - n * LN_2[0] - n * LN_2[1];
    let mut p = SERIES[0];
    for factor in &SERIES[1..] {
        p = p * rest + factor;
    }
    let power = shifted.to_bits().wrapping_sub(WHOLE.to_bits()).wrapping_add(127) << 23;
    let result = (p * rest * rest + rest + 1.0) * f32::from_bits(power);
    if x < LOWEST { 0.0 } else { result }
}

/// `1 / (1 + e⁻ˣ)`
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent, to within 2e-7.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The error function, to within 2e-7 (Abramowitz and Stegun, 7.1.26).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_73;
    p = p * t + 0.254_829_6;
    (1.0 - p * t * exp(-size * size)).copysign(x)
}

/// `Σ f(xᵢ)`
#[inline(always)]
pub fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f(*value);
        }
    }
    fold(lanes) + rest.iter().map(|value| f(*value)).sum::<f32>()
}

/// `Σ aᵢ bᵢ`
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    fold(lanes) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `Σ aᵢ bᵢ cᵢ`
#[inline(always)]
pub fn dot3(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let (c, c_rest) = c.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for (((lane, a), b), c) in lanes.iter_mut().zip(a).zip(b).zip(c) {
            *lane += a * b * c;
        }
    }
    let rest = a_rest.iter().zip(b_rest).zip(c_rest).map(|((a, b), c)| a * b * c);
    fold(lanes) + rest.sum::<f32>()
}

/// The largest of some numbers; `-inf` for none.
#[inline(always)]
pub fn max(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

/// `yᵢ += a xᵢ`
#[inline(always)]
pub fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_standard_library() {
        for step in -8800..=8800 {
            let x = step as f32 * 0.01;
            assert!((exp(x) / x.exp() - 1.0).abs() < 3e-7 || x < -87.3, "exp({x}): {}", exp(x));
            assert!((tanh(x) - x.tanh()).abs() < 3e-7, "tanh({x})");
        }
        assert_eq!(exp(-1000.0), 0.0);
        // From tables.
        for (x, known) in [(0.0, 0.0), (0.1, 0.112_462_92), (0.5, 0.520_499_9), (2.0, 0.995_322_3)]
        {
            assert!((erf(x) - known).abs() < 3e-7, "erf({x}): {}", erf(x));
            assert!((erf(-x) + known).abs() < 3e-7, "erf(-{x})");
        }
    }

    #[test]
    fn sums_count_every_number_once() {
        let values: Vec<f32> = (0..37).map(|it| it as f32).collect();
        assert_eq!(sum(&values, |it| it), 666.0);
        assert_eq!(dot(&values, &values), 16206.0);
        assert_eq!(dot3(&values, &values, &[1.0; 37]), 16206.0);
        assert_eq!(max(&values), 36.0);
    }
}

//! Rotary position embedding of heads.

use multiversion::multiversion;

use super::pieces::{for_rows, unwritten};

/// Angles of some tokens: cosines and sines, `[tokens, pairs]`.
#[derive(Clone, Copy, Debug)]
pub struct Angles<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
    /// Pairs of a head that are rotated; what lies beyond them passes.
    pub n_pairs: usize,
    /// Whether to rotate back.
    pub back: bool,
}

/// Rotates the pairs `(x_i, x_{i + pairs})` of each head of each token.
pub fn rotate(heads: &[f32], width: usize, head_dim: usize, angles: Angles<'_>) -> Vec<f32> {
    let mut output = unwritten(heads.len());
    for_rows(&mut output, width, |first, rows| {
        rows.copy_from_slice(&heads[first * width..][..rows.len()]);
        let n_rows = rows.len() / width;
        let of_rows = first * angles.n_pairs..(first + n_rows) * angles.n_pairs;
        let (cos, sin) = (&angles.cos[of_rows.clone()], &angles.sin[of_rows]);
        rotate_rows(rows, width, head_dim, Angles { cos, sin, ..angles });
    });
    output
}

/// The same, of a few tokens in place on this thread.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma"))]
pub fn rotate_rows(rows: &mut [f32], width: usize, head_dim: usize, angles: Angles<'_>) {
    let Angles { cos, sin, n_pairs, back } = angles;
    let direction = if back { -1.0 } else { 1.0 };
    let angles = cos.chunks_exact(n_pairs).zip(sin.chunks_exact(n_pairs));
    for (row, (cos, sin)) in rows.chunks_exact_mut(width).zip(angles) {
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head.split_at_mut(n_pairs);
            for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                let (x, y, sin) = (*low, *high, sin * direction);
                *low = x * cos - y * sin;
                *high = y * cos + x * sin;
            }
        }
    }
}

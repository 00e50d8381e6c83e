use super::*;

fn numbers(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + salt * 11) % 101) as f32 / 50.0 - 1.0).collect()
}

fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    (0..values.len())
        .map(|i| values[i % (values.len() / width) * width + i / (values.len() / width)])
        .collect()
}

/// Two sources side by side, one of them transposed, against sums in f64.
fn check(precision: Precision, n_in: usize, [left, right]: [usize; 2], n_rows: usize) {
    let (a, b) = (numbers(n_in * left, 1), numbers(n_in * right, 2));
    let (bias, turned) = (numbers(left, 3), transposed(&b, right));
    let packed = Packed::new(
        n_in,
        &[
            Source { values: &a, transposed: false, bias: Some(&bias) },
            Source { values: &turned, transposed: true, bias: None },
        ],
        precision,
    );
    let (stride, n_out) = (n_in + 3, left + right);
    let x = numbers(n_rows * stride, 4);
    let rows = Rows { data: &x, stride, count: n_rows };
    let mut y = vec![1.0; n_rows * (n_out + 2)];
    let sink = Sink { data: &mut y, stride: n_out + 2, adds: true };
    packed.multiply(rows, sink, Threads::All);
    for row in 0..n_rows {
        let x = &x[row * stride..][..n_in];
        for column in 0..n_out {
            let weight = |k: usize| match column.checked_sub(left) {
                None => a[k * left + column],
                Some(column) => b[k * right + column],
            };
            let products = x.iter().enumerate().map(|(k, x)| f64::from(x * weight(k)));
            let (sum, size) = products.fold((0.0, 0.0), |(s, t), it| (s + it, t + it.abs()));
            let start = bias.get(column).copied().unwrap_or(0.0);
            let want = sum + f64::from(start) + 1.0;
            let got = f64::from(y[row * (n_out + 2) + column]);
            // Two roundings to 8 bits, where there are any.
            let is_rounded = f64::from(u8::from(precision == Precision::Bf16));
            let bound = 1e-4 + is_rounded * size * 2.0_f64.powi(-8);
            assert!((got - want).abs() < bound, "{got} and {want}");
        }
        assert_eq!(y[row * (n_out + 2) + n_out..][..2], [1.0; 2], "nothing is written beyond");
        // The same bits alone.
        let mut alone = vec![1.0; n_out];
        let rows = Rows { data: x, stride: n_in, count: 1 };
        let sink = Sink { data: &mut alone, stride: n_out, adds: true };
        packed.multiply(rows, sink, Threads::One);
        assert_eq!(alone, y[row * (n_out + 2)..][..n_out]);
    }
}

#[test]
fn products_are_those_of_the_sources_and_independent_of_the_other_rows() {
    for precision in [Precision::F32, Precision::Bf16] {
        for n_rows in 1..28 {
            check(precision, 19, [40, 9], n_rows);
        }
        check(precision, 1, [1, 1], 3);
        check(precision, 64, [32, 64], 40);
        check(precision, 300, [100, 333], 13);
    }
}

#[test]
fn some_outputs_are_those_of_all() {
    let (w, x) = (numbers(20 * 100, 1), numbers(3 * 20, 2));
    for precision in [Precision::F32, Precision::Bf16] {
        let sources = [Source { values: &w, transposed: false, bias: None }];
        let packed = Packed::new(20, &sources, precision);
        let rows = Rows { data: &x, stride: 20, count: 3 };
        let [mut all, mut some] = [vec![0.0; 300], vec![0.0; 3 * 36]];
        let sink = Sink { data: &mut all, stride: 100, adds: false };
        packed.multiply(rows, sink, Threads::One);
        let sink = Sink { data: &mut some, stride: 36, adds: false };
        packed.multiply_some(64..100, rows, sink, Threads::One);
        for row in 0..3 {
            assert_eq!(all[row * 100 + 64..][..36], some[row * 36..][..36]);
        }
        let mut weights = [0.0; 20];
        packed.output(70, &mut weights);
        let near = |(k, it): (usize, &f32)| (it - w[k * 100 + 70]).abs() <= 0.004;
        assert!(weights.iter().enumerate().all(near), "{weights:?}");
    }
}

#[test]
#[should_panic(expected = "beyond its slice")]
fn a_sink_that_is_too_short() {
    let source = Source { values: &[1.0; 4], transposed: false, bias: None };
    let packed = Packed::new(2, &[source], Precision::F32);
    let rows = Rows { data: &[1.0; 4], stride: 2, count: 2 };
    let sink = Sink { data: &mut [0.0; 3], stride: 2, adds: false };
    packed.multiply(rows, sink, Threads::One);
}

//! Matrix products against their definition; the operations that are made of them are tested as a network, in
//! `tests/lora`.

use super::product::{Matrix, MatrixMut, Threads};

/// Numbers of both signs, small enough that sums are exact.
fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| f32::from(u8::try_from((i * step) % 17).unwrap()) - 8.0).collect()
}

/// A product into rows 1.. and columns 2.. of a larger matrix, of the inner parts of larger ones.
fn check(m: usize, n: usize, k: usize, transposed: bool, add: bool, threads: Threads) {
    let (a, b) = (numbers((m + 2) * (k + 3), 5), numbers((n + 1) * (k + 1), 7));
    let before = numbers((m + 1) * (n + 4), 3);
    let left = Matrix::new(&a, m + 2, k + 3).rows(&(2..m + 2)).columns(&(1..k + 1));
    let right = if transposed {
        Matrix::new(&b, n + 1, k + 1).rows(&(1..n + 1)).columns(&(0..k)).transposed()
    } else {
        Matrix::new(&b, k + 1, n + 1).rows(&(1..k + 1)).columns(&(0..n))
    };
    let mut out = before.clone();
    let target = MatrixMut::new(&mut out, m + 1, n + 4).rows(&(1..m + 1)).columns(&(2..n + 2));
    if add {
        target.add(0.5, left, right, threads)
    } else {
        target.set(0.5, left, right, threads)
    }
    for row in 0..m + 1 {
        for column in 0..n + 4 {
            let at = row * (n + 4) + column;
            let inside = row >= 1 && (2..n + 2).contains(&column);
            let expected = if inside {
                let (i, j) = (row - 1, column - 2);
                let element = |l: usize| {
                    let x = a[(i + 2) * (k + 3) + l + 1];
                    let y = if transposed { b[(j + 1) * (k + 1) + l] } else { b[(l + 1) * (n + 1) + j] };
                    x * y
                };
                let sum: f32 = (0..k).map(element).sum();
                0.5 * sum + if add { before[at] } else { 0.0 }
            } else {
                before[at]
            };
            assert!(
                (out[at] - expected).abs() < 1e-2,
                "{m}x{k}x{n} at {row}, {column}: {} for {expected}",
                out[at]
            );
        }
    }
}

#[test]
fn products_are_their_definition_and_touch_nothing_else() {
    // The last two are shared out, by columns and by rows.
    for (m, n, k) in
        [(1, 1, 1), (3, 5, 7), (17, 16, 33), (64, 3, 2), (5, 700, 301), (70, 500, 64), (300, 48, 129)]
    {
        for transposed in [false, true] {
            for add in [false, true] {
                for threads in [Threads::One, Threads::All] {
                    check(m, n, k, transposed, add, threads);
                }
            }
        }
    }
    check(0, 4, 4, false, true, Threads::All);
    check(4, 0, 4, true, false, Threads::All);
}

#[test]
#[should_panic(expected = "shapes of a product agree")]
fn shapes_that_do_not_fit_are_told() {
    let (a, b, mut out) = ([0.0; 6], [0.0; 6], [0.0; 4]);
    MatrixMut::new(&mut out, 2, 2).set(1.0, Matrix::new(&a, 2, 3), Matrix::new(&b, 2, 3), Threads::One);
}

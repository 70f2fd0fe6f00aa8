//! Products with weights of eight and four bits against their definition and against the float product.

use native::quantised::{Bits, Quantised};
use tch::{Device, Kind, Tensor};

/// A stream of numbers.
struct Draws(u64);

impl Draws {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Between −1 and 1.
    fn float(&mut self) -> f32 {
        (self.draw() % 20_001) as f32 / 10_000.0 - 1.0
    }
}

/// A float16's value.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from((bits >> 10) & 31), f64::from(bits & 1023));
    let size = if exponent == 0 { fraction * 2f64.powi(-24) } else { (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15) };
    if bits & 0x8000 == 0 { size } else { -size }
}

/// ggml's bytes of `n` rows of `k` numbers, and the numbers. Scales have either sign, and some are subnormal.
fn matrix(bits: Bits, n: usize, k: usize, draws: &mut Draws) -> (Vec<u8>, Vec<f64>) {
    let (mut bytes, mut numbers) = (vec![], vec![]);
    for _ in 0..n * k / 32 {
        let scale = (((draws.draw() % 2) << 15) | ((draws.draw() % 12) << 10) | (draws.draw() % 1024)) as u16;
        bytes.extend(scale.to_le_bytes());
        match bits {
            Bits::Eight | Bits::EightByEight => {
                let q: Vec<i8> = (0..32).map(|_| (draws.draw() % 255) as i32 - 127).map(|q| q as i8).collect();
                bytes.extend(q.iter().map(|q| q.cast_unsigned()));
                numbers.extend(q.iter().map(|&q| half(scale) * f64::from(q)));
            }
            Bits::Four => {
                let q: Vec<u8> = (0..32).map(|_| (draws.draw() % 16) as u8).collect();
                bytes.extend((0..16).map(|i| q[i] | q[i + 16] << 4));
                numbers.extend(q.iter().map(|&q| half(scale) * (f64::from(q) - 8.0)));
            }
        }
    }
    (bytes, numbers)
}

fn rows(m: usize, k: usize, draws: &mut Draws) -> (Vec<f32>, Tensor) {
    // Rows and blocks of different sizes: a scale for the whole row would be seen.
    let x: Vec<f32> = (0..m * k).map(|i| draws.float() * [1.0, 30.0, 0.01][i / 32 % 3]).collect();
    let tensor = Tensor::from_slice(&x).view([m as i64, k as i64]);
    (x, tensor)
}

fn numbers(t: &Tensor) -> Vec<f32> {
    Vec::try_from(&t.flatten(0, -1)).unwrap()
}

#[test]
fn products_are_those_of_the_definition_and_near_the_float_ones() {
    let mut draws = Draws(5);
    for bits in [Bits::Eight, Bits::Four, Bits::EightByEight] {
        // Rows of W that are and are not whole groups of sixteen; rows of x that are and are not fours, and more than go at once.
        for (m, n, k) in [(1, 1, 32), (1, 48, 256), (2, 17, 96), (3, 16, 64), (5, 40, 1024), (70, 33, 64)] {
            let (bytes, w) = matrix(bits, n, k, &mut draws);
            let weight = Quantised::new(bits, &bytes, n as i64, k as i64).unwrap();
            let (x, tensor) = rows(m, k, &mut draws);
            let b: Vec<f32> = (0..n).map(|_| draws.float()).collect();
            let bias = Tensor::from_slice(&b);
            for way in 0..bits.ways() {
                let y = numbers(&weight.linear_by(way, &tensor, Some(&bias)).unwrap());
                for (r, c) in (0..m).flat_map(|r| (0..n).map(move |c| (r, c))) {
                    let (mut defined, mut float) = (f64::from(b[c]), f64::from(b[c]));
                    let (mut size, mut flips, mut steps) = (f64::from(b[c].abs()), 0.0, 0.0);
                    for start in (0..k).step_by(32) {
                        let (w, x) = (&w[c * k + start..][..32], &x[r * k + start..][..32]);
                        let step = f64::from(x.iter().fold(0.0f32, |most, v| most.max(v.abs())))
                            / if bits == Bits::EightByEight { 127.0 } else { 32767.0 };
                        for (w, x) in w.iter().zip(x) {
                            defined += w * step * (f64::from(*x) / step).round();
                            float += w * f64::from(*x);
                            size += (w * f64::from(*x)).abs();
                            steps += w.abs() * step;
                        }
                        flips += step * w.iter().fold(0.0f64, |most, v| most.max(v.abs()));
                    }
                    // Rounding of the sums over blocks, and of x / step in float32, which may come out on the other side of a half: one such number a
                    // block is allowed for.
                    let found = f64::from(y[r * n + c]);
                    let near = 1e-6 * size + flips;
                    assert!((found - defined).abs() <= near, "{bits:?} {m} {n} {k} way {way}: {found} against {defined}, {near}");
                    // Each activation is off by half a step at most.
                    let near = 1e-6 * size + 0.51 * steps;
                    assert!((found - float).abs() <= near, "{bits:?} {m} {n} {k} way {way}: {found} against {float}, {near}");
                }
            }
        }
    }
}

#[test]
fn neither_company_nor_threads_change_a_bit() {
    let mut draws = Draws(9);
    for bits in [Bits::Eight, Bits::Four, Bits::EightByEight] {
        let (n, k) = (530, 512); // large enough for several threads
        let (bytes, _) = matrix(bits, n, k, &mut draws);
        let weight = Quantised::new(bits, &bytes, n as i64, k as i64).unwrap();
        let (_, x) = rows(67, k, &mut draws);
        let threads = tch::get_num_threads();
        tch::set_num_threads(1);
        let alone: Vec<f32> = (0..67).flat_map(|r| numbers(&weight.linear(&x.narrow(0, r, 1), None).unwrap())).collect();
        tch::set_num_threads(3);
        let together = numbers(&weight.linear(&x, None).unwrap());
        tch::set_num_threads(threads);
        assert!(alone.iter().zip(&together).all(|(a, b)| a.to_bits() == b.to_bits()), "{bits:?}");
        let across = x.transpose(0, 1).contiguous().transpose(0, 1);
        assert_eq!(numbers(&weight.linear(&across, None).unwrap()), together, "{bits:?}: the strides of x");
    }
}

#[test]
fn what_is_not_finite_shows_and_zeros_are_zeros() {
    let (bytes, _) = matrix(Bits::Eight, 16, 64, &mut Draws(1));
    for (bits, way) in [Bits::Eight, Bits::EightByEight].into_iter().flat_map(|bits| (0..bits.ways()).map(move |way| (bits, way))) {
        let weight = Quantised::new(bits, &bytes, 16, 64).unwrap();
        let product = |x: &[f32]| numbers(&weight.linear_by(way, &Tensor::from_slice(x).view([1, 64]), None).unwrap());
        assert!(product(&[0.0; 64]).iter().all(|y| *y == 0.0));
        assert!(product(&[1e-42; 64]).iter().all(|y| y.abs() < 1e-30), "so small that 1 / step is infinite");
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; 64];
            x[40] = bad;
            assert!(product(&x).iter().all(|y| y.is_nan()), "{bad}");
        }
        let (mut with_tiny, mut with_zeros) = ([1.0; 64], [1.0; 64]);
        with_tiny[32..].fill(1e-38);
        with_zeros[32..].fill(0.0);
        assert_eq!(product(&with_tiny), product(&with_zeros), "a block of tiny numbers leaves its neighbour as it is, {bits:?} {way}");
    }
}

#[test]
fn few_bits_are_few_bytes() {
    for (bits, of_64) in [(Bits::Eight, 68), (Bits::Four, 36), (Bits::EightByEight, 68)] {
        let (bytes, _) = matrix(bits, 128, 64, &mut Draws(2));
        let weight = Quantised::new(bits, &bytes, 128, 64).unwrap();
        assert_eq!((weight.bytes(), weight.sizes()), (128 * of_64, (64, 128)), "8.5 and 4.5 bits a weight");
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let (bytes, _) = matrix(Bits::Four, 2, 32, &mut Draws(3));
    assert!(Quantised::new(Bits::Four, &bytes, 2, 48).is_err() && Quantised::new(Bits::Four, &bytes, 3, 32).is_err());
    assert!(Quantised::new(Bits::Four, &[], 0, 32).is_err());
    let weight = Quantised::new(Bits::Four, &bytes, 2, 32).unwrap();
    let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, Device::Cpu));
    let x = zeros(&[1, 32], Kind::Float);
    assert!(weight.linear(&x, Some(&zeros(&[2], Kind::Float))).is_ok());
    assert_eq!(weight.linear(&zeros(&[0, 32], Kind::Float), None).unwrap().size(), [0, 2]);
    for x in [zeros(&[1, 31], Kind::Float), zeros(&[32], Kind::Float), zeros(&[1, 32], Kind::Double)] {
        assert!(weight.linear(&x, None).is_err());
    }
    assert!(weight.linear(&x, Some(&zeros(&[3], Kind::Float))).is_err());
    assert!(weight.linear(&x.set_requires_grad(true), None).is_err());
    assert!(weight.linear_by(Bits::Four.ways(), &zeros(&[1, 32], Kind::Float), None).is_err());
}

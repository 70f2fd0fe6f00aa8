//! Stretching a picture to a square by a triangle filter, in two passes with bytes between them: PIL's `Image.resize(.., BILINEAR)`, which is also what
//! transformers' image processor of ViT does.

/// Weights of the source's places that make up one place of the result, from `first` on.
struct Mix {
    first: usize,
    weights: Vec<f64>,
}

/// Output place i looks at the source around (i + ½) · scale with the weights max(0, 1 − |distance| / reach), reach = max(scale, 1), scale = from / to.
fn mixes(from: usize, to: usize) -> Vec<Mix> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let of = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let first = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weights: Vec<f64> = (first..end).map(|x| (1.0 - ((x as f64 + 0.5 - centre) / reach).abs()).max(0.0)).collect();
        let sum: f64 = weights.iter().sum();
        Mix { first, weights: weights.into_iter().map(|w| w / sum).collect() }
    };
    (0..to).map(of).collect()
}

/// RGB of `width` × `height` pixels to `side` × `side`.
pub(super) fn square(rgb: &[u8], width: usize, height: usize, side: usize) -> Vec<u8> {
    let wide = if width == side { rgb.to_vec() } else { across(rgb, width, height, &mixes(width, side)) };
    if height == side { wide } else { down(&wide, side, &mixes(height, side)) }
}

fn across(rgb: &[u8], width: usize, height: usize, mixes: &[Mix]) -> Vec<u8> {
    let mut out = Vec::with_capacity(height * mixes.len() * 3);
    for row in rgb.chunks_exact(width * 3) {
        for mix in mixes {
            out.extend((0..3).map(|c| byte(mix, |x| row[x * 3 + c])));
        }
    }
    out
}

fn down(rgb: &[u8], width: usize, mixes: &[Mix]) -> Vec<u8> {
    let line = width * 3;
    mixes.iter().flat_map(|mix| (0..line).map(move |at| byte(mix, |y| rgb[y * line + at]))).collect()
}

fn byte(mix: &Mix, source: impl Fn(usize) -> u8) -> u8 {
    let sum: f64 = mix.weights.iter().enumerate().map(|(i, w)| w * f64::from(source(mix.first + i))).sum();
    sum.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_stays_and_halves_are_means() {
        let flat: Vec<u8> = [10, 200, 77].repeat(7 * 5);
        assert_eq!(square(&flat, 7, 5, 3), [10, 200, 77].repeat(9));
        assert_eq!(square(&flat, 7, 5, 9), [10, 200, 77].repeat(81));
        let same: Vec<u8> = (0..4 * 4 * 3).collect();
        assert_eq!(square(&same, 4, 4, 4), same);
    }
}

//! Scenes as pixels.

use super::scene::{COLOURS, SHAPES, SIDE, Scene, Shape, Thing, between};
use crate::dice::Dice;

/// Points a pixel is looked at along each side: edges are mixtures.
const POINTS: usize = 3;

/// Corners of a star of reach 1, from its upper point on.
const STAR: [[f64; 2]; 10] = [
    [0.0, -1.0],
    [0.2645, -0.3641],
    [0.9511, -0.309],
    [0.428, 0.1391],
    [0.5878, 0.809],
    [0.0, 0.45],
    [-0.5878, 0.809],
    [-0.428, 0.1391],
    [-0.9511, -0.309],
    [-0.2645, -0.3641],
];

/// Corners of a triangle of reach 1.
const TRIANGLE: [[f64; 2]; 3] = [[0.0, -1.0], [0.95, 0.75], [-0.95, 0.75]];

/// The scene before a greyish background of any lightness, with colours that vary a little and noise: RGB bytes, row by row.
pub fn draw(scene: &Scene, dice: &mut Dice) -> Vec<u8> {
    let grey = between(dice, 30.0, 235.0);
    let background: [f64; 3] = std::array::from_fn(|_| grey + between(dice, -10.0, 10.0));
    let paints: Vec<[f64; 3]> = scene.things.iter().map(|thing| COLOURS[thing.colour].1.map(|c| c + between(dice, -18.0, 18.0))).collect();
    let noise = between(dice, 2.0, 10.0);
    let mut rgb = Vec::with_capacity(SIDE * SIDE * 3);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let shares: Vec<f64> = scene.things.iter().map(|thing| share(thing, x, y)).collect();
            for channel in 0..3 {
                let mut value = background[channel];
                for (share, paint) in shares.iter().zip(&paints) {
                    value += share * (paint[channel] - value);
                }
                rgb.push((value + noise * dice.normal()).clamp(0.0, 255.0) as u8);
            }
        }
    }
    rgb
}

/// How much of a pixel a thing covers.
fn share(thing: &Thing, x: usize, y: usize) -> f64 {
    let at = |i: usize, k: usize| i as f64 + (k as f64 + 0.5) / POINTS as f64;
    let inside = |k: usize| {
        let point = [at(x, k % POINTS), at(y, k / POINTS)];
        let [dx, dy] = std::array::from_fn(|axis| (point[axis] - thing.centre[axis]) / thing.radius);
        covers(SHAPES[thing.shape].1, dx, dy)
    };
    (0..POINTS * POINTS).filter(|&k| inside(k)).count() as f64 / (POINTS * POINTS) as f64
}

/// Is the point, from the centre in units of the reach, within the shape?
fn covers(shape: Shape, dx: f64, dy: f64) -> bool {
    let square = dx * dx + dy * dy;
    match shape {
        Shape::Circle => square <= 1.0,
        Shape::Ring => (0.3..=1.0).contains(&square),
        Shape::Square => dx.abs().max(dy.abs()) <= 0.85,
        Shape::Cross => dx.abs().min(dy.abs()) <= 0.32 && dx.abs().max(dy.abs()) <= 1.0,
        Shape::Triangle => within(&TRIANGLE, dx, dy),
        Shape::Star => within(&STAR, dx, dy),
    }
}

/// A ray to the right crosses the outline an odd number of times.
fn within(corners: &[[f64; 2]], x: f64, y: f64) -> bool {
    let sides = corners.iter().zip(corners.iter().cycle().skip(1));
    let crossed = sides.filter(|([ax, ay], [bx, by])| (*ay > y) != (*by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax);
    crossed.count() % 2 == 1
}

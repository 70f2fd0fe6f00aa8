//! What a picture shows, and how that is said.

use crate::dice::Dice;

/// Width and height of a picture in pixels.
pub const SIDE: usize = 48;

/// Colours by name, with their red, green and blue.
pub const COLOURS: [(&str, [f64; 3]); 6] = [
    ("red", [205.0, 35.0, 40.0]),
    ("green", [35.0, 155.0, 60.0]),
    ("blue", [40.0, 70.0, 205.0]),
    ("yellow", [235.0, 215.0, 45.0]),
    ("purple", [135.0, 45.0, 165.0]),
    ("orange", [240.0, 125.0, 25.0]),
];

/// Forms of things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A disc.
    Circle,
    /// With sides along the picture's.
    Square,
    /// With its point up.
    Triangle,
    /// Five-pointed.
    Star,
    /// Two bars, upright.
    Cross,
    /// A disc with a hole.
    Ring,
}

/// All forms by name.
pub const SHAPES: [(&str, Shape); 6] = [
    ("circle", Shape::Circle),
    ("square", Shape::Square),
    ("triangle", Shape::Triangle),
    ("star", Shape::Star),
    ("cross", Shape::Cross),
    ("ring", Shape::Ring),
];

/// One thing in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Thing {
    /// Place in [`COLOURS`].
    pub colour: usize,
    /// Place in [`SHAPES`].
    pub shape: usize,
    /// Large, not small.
    pub large: bool,
    /// Centre in pixels from the left and from the top.
    pub centre: [f64; 2],
    /// Reach from the centre in pixels.
    pub radius: f64,
}

/// One thing, or two of which the first is left of the second or above it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// In the order in which they are named.
    pub things: Vec<Thing>,
    /// Two of them stand one above the other, not side by side.
    pub upright: bool,
}

/// Is this pair of a colour and a shape kept from training? One of every colour and one of every shape is.
pub fn held_out(colour: usize, shape: usize) -> bool {
    (colour + 2) % COLOURS.len() == shape
}

impl Scene {
    /// Draws a scene; all its pairs of colour and shape are held out, or none is.
    pub fn draw(dice: &mut Dice, unseen_pairs: bool) -> Scene {
        let (two, upright) = (dice.chance(0.5), dice.chance(0.5));
        let things = (0..1 + usize::from(two)).map(|i| thing(dice, unseen_pairs, two.then_some((i, upright)))).collect();
        Scene { things, upright }
    }

    /// What the picture shows, in words.
    pub fn caption(&self) -> String {
        let things: Vec<String> = self.things.iter().map(Thing::words).collect();
        things.join(if self.upright { " above " } else { " left of " })
    }
}

impl Thing {
    fn words(&self) -> String {
        format!("a {} {} {}", if self.large { "large" } else { "small" }, COLOURS[self.colour].0, SHAPES[self.shape].0)
    }
}

/// `half`: which half of the picture it has to itself, and whether the halves lie one above the other.
fn thing(dice: &mut Dice, unseen_pair: bool, half: Option<(usize, bool)>) -> Thing {
    let (colour, shape) = loop {
        let pair = (dice.below(COLOURS.len()), dice.below(SHAPES.len()));
        if held_out(pair.0, pair.1) == unseen_pair {
            break pair;
        }
    };
    let large = dice.chance(0.5);
    let radius = if large { between(dice, 9.0, 11.0) } else { between(dice, 5.0, 6.5) };
    let (side, edge) = (SIDE as f64, radius + 1.0);
    let mut centre = [between(dice, edge, side - edge), between(dice, edge, side - edge)];
    if let Some((i, upright)) = half {
        let (axis, start) = (usize::from(upright), i as f64 * side / 2.0);
        centre[axis] = start + between(dice, edge, side / 2.0 - edge);
        centre[1 - axis] = side / 2.0 + between(dice, -4.0, 4.0); // nearly in line: there is one way to say how they stand
    }
    Thing { colour, shape, large, centre, radius }
}

/// Evenly between two numbers.
pub(super) fn between(dice: &mut Dice, from: f64, to: f64) -> f64 {
    from + (to - from) * dice.unit()
}

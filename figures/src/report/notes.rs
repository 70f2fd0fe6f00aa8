//! Words beside points of a chart: each stands as near to its point as it can without covering another word or a point.

use super::html::escape;

/// Width of a letter, and of one as wide as it is high (Chinese), at the page's 11 units of text; a little more than most letters take.
const LETTER: f64 = 6.2;
const WIDE: f64 = 11.5;
/// Height of a line of text, and from its base line to its top.
const LINE: f64 = 13.0;
const ASCENT: f64 = 10.0;
/// Letters of a longer word that are shown; the whole stands in the point's title.
const LONGEST: usize = 24;
/// From a point to its word, and half of what a point takes for itself.
const GAP: f64 = 5.0;
const DOT: f64 = 3.0;
/// A word farther away than this is tied to its point by a line.
const NEAR: f64 = 12.0;

/// A rectangle in the drawing's units; y goes down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    fn around((x, y): (f64, f64), half: f64) -> Area {
        Area { left: x - half, top: y - half, right: x + half, bottom: y + half }
    }

    fn meets(&self, other: &Area) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    /// The place in it that is nearest to a point.
    fn nearest(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (x.clamp(self.left, self.right), y.clamp(self.top, self.bottom))
    }

    fn distance(&self, point: (f64, f64)) -> f64 {
        let (x, y) = self.nearest(point);
        (x - point.0).hypot(y - point.1)
    }
}

/// Draws words at their points inside `area`; `points` are all that stand in the chart. A word for which no place is left is left out: the title of
/// its point says it.
pub(super) fn draw(notes: &[((f64, f64), &str)], points: &[(f64, f64)], area: Area) -> String {
    let mut svg = String::new();
    for (&(at, text), place) in notes.iter().zip(places(notes, points, area)) {
        let Some(place) = place else { continue };
        if place.distance(at) > NEAR {
            let (x, y) = place.nearest(at);
            svg += &format!("<line class=\"tie\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{y:.1}\"/>", at.0, at.1);
        }
        let (x, y) = ((place.left + place.right) / 2.0, place.top + ASCENT);
        svg += &format!("<text class=\"note\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(&shown(text)));
    }
    svg
}

/// Where each word stands.
fn places(notes: &[((f64, f64), &str)], points: &[(f64, f64)], area: Area) -> Vec<Option<Area>> {
    let dots: Vec<Area> = points.iter().map(|point| Area::around(*point, DOT)).collect();
    let mut taken: Vec<Area> = Vec::new();
    let mut found = Vec::new();
    for &(at, text) in notes {
        let width = shown(text).chars().map(|c| if c < '\u{2e80}' { LETTER } else { WIDE }).sum::<f64>();
        let free = |place: &Area| !taken.iter().any(|other| place.meets(other));
        let covers = |place: &Area| dots.iter().filter(|dot| place.meets(dot)).count();
        let candidates: Vec<Area> = candidates(at, width, area).into_iter().filter(free).collect();
        // The first that covers no point, else the first of those that cover fewest.
        let place = candidates.into_iter().min_by_key(covers);
        taken.extend(place);
        found.push(place);
    }
    found
}

/// Places for a word of this width: right above its point, left above, and so on round it, then everywhere in the area, the nearest first.
fn candidates(at: (f64, f64), width: f64, area: Area) -> Vec<Area> {
    let place = |left: f64, top: f64| Area { left, top, right: left + width, bottom: top + LINE };
    let inside =
        |place: &Area| place.left >= area.left && place.right <= area.right && place.top >= area.top && place.bottom <= area.bottom;
    let (right, left, middle) = (at.0 + GAP, at.0 - GAP - width, at.0 - width / 2.0);
    let (above, below, beside) = (at.1 - GAP - LINE + 2.0, at.1 + GAP - 2.0, at.1 - LINE / 2.0);
    let round =
        [(right, above), (left, above), (right, below), (left, below), (middle, above), (middle, below), (right, beside), (left, beside)];
    let steps = |from: f64, to: f64, step: f64| (0..).map(move |i| from + f64::from(i) * step).take_while(move |x| *x <= to);
    let mut everywhere: Vec<Area> = steps(area.top, area.bottom - LINE, LINE / 2.0)
        .flat_map(|top| steps(area.left, area.right - width, 10.0).map(move |left| (left, top)))
        .map(|(left, top)| place(left, top))
        .filter(|place| place.distance(at) > DOT)
        .collect();
    everywhere.sort_by(|a, b| a.distance(at).total_cmp(&b.distance(at)));
    round.into_iter().map(|(left, top)| place(left, top)).filter(inside).chain(everywhere).collect()
}

/// The word, or its beginning where it is long.
fn shown(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_string();
    }
    text.chars().take(LONGEST - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area { left: 60.0, top: 10.0, right: 446.0, bottom: 220.0 };

    #[test]
    fn words_of_points_in_a_heap_do_not_cover_one_another() {
        let names: Vec<String> = (0..8).map(|i| format!("a judge with a long name, number {i}")).collect();
        // In the middle, in a corner, and in a row as the least reliable judges stand.
        for (x, y, dx) in [(250.0, 100.0, 0.5), (444.0, 12.0, 0.0), (62.0, 218.0, 4.0)] {
            let points: Vec<(f64, f64)> = (0..8).map(|i| (x + dx * f64::from(i), y - 0.3 * f64::from(i) * dx)).collect();
            let notes: Vec<_> = points.iter().copied().zip(names.iter().map(String::as_str)).collect();
            let found: Vec<Area> = places(&notes, &points, AREA).into_iter().map(|place| place.expect("a place")).collect();
            for (i, one) in found.iter().enumerate() {
                assert!(one.left >= AREA.left && one.right <= AREA.right && one.top >= AREA.top && one.bottom <= AREA.bottom, "{one:?}");
                assert!(found[i + 1..].iter().all(|other| !one.meets(other)), "{found:?}");
                assert!(points.iter().all(|point| !one.meets(&Area::around(*point, DOT))), "{one:?} covers a point");
            }
        }
    }

    #[test]
    fn a_word_alone_stands_beside_its_point_and_a_far_one_is_tied_to_it() {
        let alone = draw(&[((200.0, 100.0), "<ann>")], &[(200.0, 100.0)], AREA);
        assert!(alone.contains("&lt;ann&gt;") && !alone.contains("<line"), "{alone}");
        let heap = [((200.0, 100.0), "李四"); 12];
        let crowded = draw(&heap, &[(200.0, 100.0)], AREA);
        assert_eq!(crowded.matches("<text").count(), 12);
        assert!(crowded.contains("<line class=\"tie\" x1=\"200.0\" y1=\"100.0\""), "{crowded}");
    }

    #[test]
    fn without_room_a_word_is_left_out() {
        let small = Area { left: 0.0, top: 0.0, right: 30.0, bottom: 14.0 };
        assert_eq!(draw(&[((5.0, 5.0), "much too long for this")], &[(5.0, 5.0)], small), "");
    }
}

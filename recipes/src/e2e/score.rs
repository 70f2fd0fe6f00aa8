//! The score of one description.

use super::meaning::{Meaning, MeaningError, Slot};
use super::tables::{BARE, Class, NO_VALUE, PHRASES, PLACES, class};
use crate::phrases::{END, Phrases, repeated_trigrams, words};
use serde::Serialize;
use std::sync::OnceLock;

/// How well a description says its meaning representation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// Share of the given slots said rightly, 0 to 1.
    pub coverage: f64,
    /// Slots given.
    pub given: usize,
    /// Of these, said rightly (another value may be said besides: see `wrong`).
    pub right: usize,
    /// Given slots that are not said at all.
    pub missing: Vec<&'static str>,
    /// Given slots for which another value is said.
    pub wrong: Vec<&'static str>,
    /// Slots said that are not given.
    pub invented: Vec<&'static str>,
    /// Wrong and invented ones.
    pub hallucinated: usize,
    /// Slot error rate: (missing + wrong + invented) / given; may exceed 1.
    pub slot_error: f64,
    /// Runs of three words that come again.
    pub repeated: usize,
    /// Words.
    pub words: usize,
}

/// Scores `response` as an answer to the meaning representation `prompt`.
pub fn score(prompt: &str, response: &str) -> Result<Score, MeaningError> {
    Ok(score_meaning(&Meaning::parse(prompt)?, response))
}

/// Scores `response` as a description of `meaning`. Total: any string has a score.
pub fn score_meaning(meaning: &Meaning, response: &str) -> Score {
    let plain = words(response);
    let mut text = plain.clone();
    // Names first, and out of the way: "Raja Indian Cuisine" says nothing about the food.
    let named = [Slot::Name, Slot::Near].map(|slot| meaning.get(slot).map(|value| cover(&mut text, value, true)));
    let strangers = PLACES.iter().filter(|p| cover(&mut text, p, false)).count();
    NO_VALUE.iter().for_each(|words| {
        cover(&mut text, words, false);
    });
    let hits = phrases().find(&text);
    let (mut right, mut given, mut missing, mut wrong, mut invented) = (0, 0, Vec::new(), Vec::new(), Vec::new());
    for slot in Slot::ALL {
        let mut said: Vec<Class> = hits.iter().filter(|h| h.slot == slot).map(|h| h.value).collect();
        if said.iter().any(|&c| c != BARE) {
            said.retain(|&c| c != BARE);
        } else {
            said.fill("yes");
        }
        let Some(value) = meaning.get(slot) else {
            // Everything in this data is a restaurant: to say so invents nothing.
            if said.iter().any(|&c| c != "restaurant") {
                invented.push(slot.key());
            }
            continue;
        };
        given += 1;
        let (there, other) = match (slot, class(slot, value)) {
            (Slot::Name, _) => (named[0] == Some(true), false),
            (Slot::Near, _) => (named[1] == Some(true), false),
            (_, Some(c)) => (said.contains(&c), said.iter().any(|&s| s != c && s != "restaurant")),
            (_, None) => (cover(&mut text, value, false), !said.is_empty()),
        };
        right += usize::from(there);
        if other {
            wrong.push(slot.key());
        } else if !there {
            missing.push(slot.key());
        }
    }
    if strangers > 0 {
        // Another name in place of the right one is wrong, besides the right one it is a place made up.
        let slot = if missing.contains(&Slot::Name.key()) { Slot::Name } else { Slot::Near };
        if missing.contains(&slot.key()) {
            missing.retain(|&k| k != slot.key());
            wrong.push(slot.key());
        } else {
            invented.push(slot.key());
        }
    }
    let share = |n: usize| n as f64 / given.max(1) as f64;
    let hallucinated = wrong.len() + invented.len();
    Score {
        coverage: share(right),
        given,
        right,
        slot_error: share(missing.len() + hallucinated),
        missing,
        wrong,
        invented,
        hallucinated,
        repeated: repeated_trigrams(&plain),
        words: plain.iter().filter(|w| *w != END).count(),
    }
}

fn phrases() -> &'static Phrases<Slot, Class> {
    static TABLE: OnceLock<Phrases<Slot, Class>> = OnceLock::new();
    TABLE.get_or_init(|| Phrases::new(PHRASES.iter().flat_map(|(slot, class, list)| list.iter().map(|p| (*slot, *class, *p)))))
}

/// Whether `text` has the words of `name` (its article may be missing, and where `genitive` an s may follow: "Cotto's" has become
/// "cottos"); if so, they are covered wherever they stand.
fn cover(text: &mut [String], name: &str, genitive: bool) -> bool {
    let name = words(name);
    let core = if name.len() > 1 && name[0] == "the" { &name[1..] } else { &name[..] };
    if core.is_empty() || text.len() < core.len() {
        return false;
    }
    let mut found = false;
    let (last, before) = (&core[core.len() - 1], &core[..core.len() - 1]);
    for start in 0..=text.len() - core.len() {
        let end = start + before.len();
        if text[start..end] == *before && (text[end] == *last || genitive && text[end].strip_suffix('s') == Some(last)) {
            // A word that no phrase has, and that ends none.
            text[start..start + core.len()].iter_mut().for_each(|w| *w = "_".into());
            found = true;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(meaning: &str, response: &str) -> Score {
        score(meaning, response).unwrap()
    }

    const FULL: &str = "name[Blue Spice], eatType[pub], food[English], priceRange[less than £20], customer rating[5 out of 5], \
                        area[riverside], familyFriendly[no], near[Raja Indian Cuisine]";

    #[test]
    fn a_full_description_says_everything() {
        let s = check(
            FULL,
            "Blue Spice is a cheap, highly rated English pub by the river near Raja Indian Cuisine. It is not family-friendly.",
        );
        assert_eq!((s.right, s.given, s.hallucinated, s.coverage), (8, 8, 0, 1.0), "{s:?}");
        let s = check(
            FULL,
            "Blue Spice is a five star pub for adults only, serving British food for under £20 on the riverside, close to Raja Indian Cuisine.",
        );
        assert_eq!((s.right, s.hallucinated), (8, 0), "{s:?}");
    }

    #[test]
    fn faults_are_told_apart() {
        let s = check(FULL, "Blue Spice is an expensive English pub near The Sorrento. Children are welcome.");
        assert_eq!(s.right, 3, "{s:?}");
        assert_eq!(s.missing, ["customer rating", "area"]);
        assert_eq!(s.wrong, ["priceRange", "familyFriendly", "near"]);
        let s = check("name[The Mill], eatType[restaurant]", "The Mill is a family friendly French restaurant.");
        assert_eq!((s.coverage, s.invented), (1.0, vec!["food", "familyFriendly"]));
        let s = check("name[Cotto]", "");
        assert_eq!((s.right, s.words, s.missing), (0, 0, vec!["name"]));
    }

    #[test]
    fn ratings_prices_and_families_are_not_confused() {
        for (meaning, text) in [
            ("priceRange[high], customer rating[low]", "It has high prices and a low customer rating."),
            ("priceRange[cheap], customer rating[5 out of 5]", "It has low prices and a high customer rating."),
            ("priceRange[moderate], customer rating[average]", "An average rated place with moderate prices."),
            ("priceRange[£20-25], customer rating[3 out of 5]", "Rated 3 out of 5, it costs £20-25."),
            ("familyFriendly[no]", "Families are not welcome here."),
            ("familyFriendly[no]", "It is a non-family-friendly venue."),
            ("familyFriendly[yes]", "It is kid friendly."),
            ("familyFriendly[yes]", "You can bring the whole family."),
            ("area[city centre]", "It is in the centre of the city."),
        ] {
            let s = check(meaning, text);
            assert_eq!((s.coverage, s.hallucinated), (1.0, 0), "{text}: {s:?}");
        }
    }
}

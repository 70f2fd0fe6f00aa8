//! The true preference of the small world, from text alone:
//!
//! ```text
//! gold = 3 · right / given          share of the prompt's slots that are said rightly
//!      − 1.0 · wrong                every other value of a given slot, every value of a slot that was not given
//!      − 0.3 · repeated             slots said twice (the name may be), runs of three words that come again
//!      − 0.05 · excess              words beyond 8 + 4 · given
//!      − 0.5 · clumsy               sentences without a verb, with a small first letter, over 30 words or
//!                                   with several "and"; doubled words
//!      − 0.3 · garbled              words that are not of this world, lone or strange signs
//!      − 0.5 · unfinished           no `.` `!` `?` at the end
//!      + 0.5 · name_first           it begins with the right name
//!      + 0.5 · friendly             it ends with a friendly closing, the only one
//! ```
//!
//! cut to ±4; 4 is a faultless answer, an empty one has −0.5. A slot that is missing costs 3 / given, a wrong one that and 1 more.

use super::place::Place;
use super::vocabulary::{ADJECTIVES, CLOSINGS, NOUNS, Slot, VERBS};
use super::{speak, story};
use crate::phrases::{END, Phrases, repeated_trigrams, words};
use serde::Serialize;
use std::collections::HashSet;
use std::sync::OnceLock;

/// The gold reward of one answer, and its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gold {
    /// The reward, −4 to 4.
    pub gold: f64,
    /// Slots in the prompt.
    pub given: usize,
    /// Of these, said rightly.
    pub right: usize,
    /// Of these, not said at all.
    pub missing: usize,
    /// Values said that contradict the prompt or that it does not give.
    pub wrong: usize,
    /// Slots said again and three-word runs that come again.
    pub repeated: usize,
    /// Words beyond the budget.
    pub excess: usize,
    /// Badly made sentences and doubled words.
    pub clumsy: usize,
    /// Strange words and signs.
    pub garbled: usize,
    /// No closing punctuation.
    pub unfinished: bool,
    /// Begins with the right name.
    pub name_first: bool,
    /// Ends with one friendly closing.
    pub friendly: bool,
    /// Words in all.
    pub words: usize,
}

/// Scores `response` as an answer to `prompt`. Total: any two strings have a finite score.
pub fn gold(prompt: &str, response: &str) -> Gold {
    score(&Place::parse(prompt), response)
}

/// Scores `response` as a description of `place`.
pub fn score(place: &Place, response: &str) -> Gold {
    let text = words(response);
    let hits = phrases().find(&text);
    let (mut right, mut missing, mut wrong, mut again) = (0, 0, 0, 0);
    for slot in Slot::ALL {
        let said: Vec<usize> = hits.iter().filter(|h| h.slot == Topic::Slot(slot)).map(|h| h.value).collect();
        let given = place.get(slot);
        let times = said.iter().filter(|&&v| Some(v) == given).count();
        right += usize::from(times > 0);
        // A second name is no fault in itself: two sentences may both begin with it.
        again += times.saturating_sub(if slot == Slot::Name { 2 } else { 1 });
        wrong += said.iter().filter(|&&v| Some(v) != given).collect::<HashSet<_>>().len();
        missing += usize::from(given.is_some() && said.is_empty());
    }
    let given = place.slots().count();
    let count = text.iter().filter(|w| *w != END).count();
    let closings: Vec<_> = hits.iter().filter(|h| h.slot == Topic::Closing).collect();
    let name_at = usize::from(text.first().is_some_and(|w| w == "the"));
    let parts = Gold {
        gold: 0.0,
        given,
        right,
        missing,
        wrong,
        repeated: again + repeated_trigrams(&text),
        excess: count.saturating_sub(8 + 4 * given),
        clumsy: clumsy(response),
        garbled: garbled(response),
        unfinished: !response.trim_end().ends_with(['.', '!', '?']),
        name_first: hits.iter().any(|h| h.slot == Topic::Slot(Slot::Name) && Some(h.value) == place.get(Slot::Name) && h.start == name_at),
        friendly: closings.len() == 1 && closings[0].end + 1 >= text.len(),
        words: count,
    };
    Gold { gold: total(&parts), ..parts }
}

fn total(g: &Gold) -> f64 {
    let n = |x: usize| x as f64;
    let b = |x: bool| f64::from(u8::from(x));
    let share = if g.given == 0 { 0.0 } else { n(g.right) / n(g.given) };
    let sum = 3.0 * share - n(g.wrong) - 0.3 * n(g.repeated) - 0.05 * n(g.excess) - 0.5 * n(g.clumsy) - 0.3 * n(g.garbled)
        + 0.5 * (b(g.name_first) + b(g.friendly) - b(g.unfinished));
    sum.clamp(-4.0, 4.0)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Topic {
    Slot(Slot),
    Closing,
}

fn phrases() -> &'static Phrases<Topic, usize> {
    static TABLE: OnceLock<Phrases<Topic, usize>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut entries: Vec<(Topic, usize, String)> = Vec::new();
        for (a, adjective) in ADJECTIVES.iter().enumerate() {
            entries.extend(
                NOUNS.iter().enumerate().map(|(n, noun)| (Topic::Slot(Slot::Name), a * NOUNS.len() + n, format!("{adjective} {noun}"))),
            );
        }
        for slot in Slot::ALL {
            for (v, value) in slot.values().iter().enumerate() {
                entries.extend(value.patterns.iter().map(|p| (Topic::Slot(slot), v, p.to_string())));
            }
        }
        entries.extend(CLOSINGS.iter().enumerate().map(|(i, c)| (Topic::Closing, i, c.trim_end_matches(['!', '.']).to_string())));
        Phrases::new(entries)
    })
}

/// Badly made sentences: see the formula.
fn clumsy(response: &str) -> usize {
    let mut faults = 0;
    for sentence in response.split(['.', '!', '?', '\n']).map(str::trim).filter(|s| !s.is_empty()) {
        let text = words(sentence);
        faults += usize::from(sentence.chars().next().is_some_and(char::is_lowercase));
        faults += usize::from(!text.iter().any(|w| VERBS.contains(&w.as_str())));
        faults += usize::from(text.len() > 30) + text.iter().filter(|w| *w == "and").count().saturating_sub(1);
        faults += text.windows(2).filter(|w| w[0] == w[1]).count();
    }
    faults
}

/// Chunks between spaces that are no words of this world. Hyphens join words; signs belong at the end of a word, two at most.
fn garbled(response: &str) -> usize {
    let known = |word: &str| {
        let mut chars = word.chars();
        let tail_small = chars.next().is_some() && !chars.any(char::is_uppercase);
        tail_small && lexicon().contains(&word.to_lowercase())
    };
    let bad = |chunk: &&str| {
        let core = chunk.trim_start_matches(['"', '(']);
        let core = core.trim_end_matches(['.', ',', '!', '?', ';', ':', '"', ')']);
        core.is_empty() || chunk.len() - core.len() > 3 || !core.split('-').all(known)
    };
    response.split_whitespace().filter(bad).count()
}

/// Every word that speakers and stories use.
fn lexicon() -> &'static HashSet<String> {
    static WORDS: OnceLock<HashSet<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let mut texts: Vec<&str> = [ADJECTIVES, NOUNS, CLOSINGS, VERBS].concat();
        for value in Slot::ALL.into_iter().flat_map(Slot::values) {
            texts.extend([value.key, value.adjective]);
            texts.extend(value.at.iter().chain(value.clauses));
            // `cafe|cafes`: the bar is no letter, so it parts words here too.
            texts.extend(value.patterns);
        }
        texts.extend(speak::TEXTS.iter().copied().flatten().chain(story::TEXTS.iter().copied().flatten()));
        // Words in braces are places for others, not words themselves.
        let plain = texts.iter().flat_map(|t| t.split_whitespace()).filter(|chunk| !chunk.contains('{'));
        // Apostrophes stay: the lexicon is compared with raw chunks, not with `words`.
        let letters = |chunk: &str| chunk.split(|c: char| !c.is_alphabetic() && c != '\'').map(str::to_lowercase).collect::<Vec<_>>();
        plain.flat_map(letters).filter(|w| !w.is_empty()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: &str = "name: The Blue Fig | kind: cafe | offers: cake | price: cheap | families: no";

    #[test]
    fn hand_written_answers_come_in_the_right_order() {
        let best_first = [
            "The Blue Fig is a cheap cafe. It serves cake, but it is not for children. Enjoy your visit!",
            "The Blue Fig is a cheap cafe. It serves cake, but it is not for children.",
            "There is a cheap cafe called The Blue Fig. It serves cake, but it is not for children.",
            "There is a cheap cafe called The Blue Fig. It serves cake, but it is not for children",
            "There is a cafe called The Blue Fig. It serves cake, but it is not for children",
            "There is an expensive cafe called The Blue Fig. It serves cake, but it is not for children",
            "There is an expensive cafe called The Red Fig. It serves cake, and children are welcome",
            "xq zzv cafe cafe cafe cafe cafe cafe fig blue cheap expensive museum",
        ];
        let scores: Vec<f64> = best_first.iter().map(|a| gold(PROMPT, a).gold).collect();
        assert!(scores.windows(2).all(|w| w[0] > w[1]), "{scores:?}");
        assert_eq!(scores[0], 4.0);
        assert_eq!(gold(PROMPT, "").gold, -0.5);
        let twice = format!("{} Enjoy your visit! Enjoy your visit! See you there!", best_first[1]);
        assert!(gold(PROMPT, &twice).gold < scores[1], "several closings are worse than none");
    }

    #[test]
    fn parts_are_told_apart() {
        let g = gold(PROMPT, "The Blue Fig is a cheap cafe. It is cheap. It is near the windmill. cafe, cheap. The the cakke  ; is here.");
        assert_eq!((g.given, g.right, g.missing, g.wrong), (5, 3, 2, 1), "{g:?}");
        assert_eq!((g.garbled, g.unfinished, g.name_first, g.friendly), (2, false, true, false), "{g:?}");
        // Small first letter, no verb, "the the".
        assert_eq!(g.clumsy, 3, "{g:?}");
        assert_eq!(g.repeated, 3, "cheap twice more and cafe once: {g:?}");
        let long = format!("The Blue Fig is a cheap cafe. {}", "It may be worth saying that it serves cake. ".repeat(4));
        assert!(gold(PROMPT, &long).excess > 10 && gold(PROMPT, &long).repeated > 10);
    }

    #[test]
    fn negation_is_heard() {
        for (answer, right) in [("The prices are low.", 1), ("It is not cheap.", 0), ("It is not expensive.", 1), ("It is expensive.", 0)] {
            let g = gold("price: cheap", answer);
            assert_eq!((g.right, g.wrong), (right, 1 - right), "{answer}: {g:?}");
        }
        assert_eq!(gold("families: no", "It is not good for families.").right, 1);
        assert_eq!(gold("families: welcome", "It is not good for families.").wrong, 1);
        assert_eq!(gold("rating: mixed", "Not everyone likes it.").wrong, 0);
    }

    #[test]
    fn every_value_is_recognised_in_every_wording_and_nothing_else_is_heard() {
        for slot in Slot::ALL {
            for (v, value) in slot.values().iter().enumerate() {
                let place = Place::default().with(slot, Some(v));
                let forms = value.clauses.iter().chain(value.at).chain([&value.adjective, &value.key]);
                // Prompt keys of these are labels, not words to say.
                let label = |f: &str| f == value.key && matches!(slot, Slot::Price | Slot::Rating | Slot::Families);
                for form in forms.filter(|f| !f.is_empty() && !label(f)) {
                    let g = score(&place, form);
                    assert_eq!((g.right, g.wrong, g.repeated, g.garbled), (1, 0, 0, 0), "{slot:?} {form}: {g:?}");
                }
            }
        }
    }
}

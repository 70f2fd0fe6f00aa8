//! How places are described: sentences from a place, and the faults that speakers make.

use super::place::{Place, name};
use super::vocabulary::{CLOSINGS, FILLERS, OFFER_CLAUSES, PREAMBLES, Slot};
use crate::dice::Dice;

/// All fixed texts of this module, for the lexicon of the gold reward.
pub(super) const TEXTS: &[&[&str]] = &[OFFER_CLAUSES[0], OFFER_CLAUSES[1], OFFER_CLAUSES[2], PREAMBLES, FILLERS, CONNECTIVES];

/// Words that `speak` itself puts between the tables' phrases.
const CONNECTIVES: &[&str] = &["is a an and place there called if you like try this serves shows known for its"];

/// How one answer is given. Counts of faults are tried, not promised: a place with two slots cannot forget three.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Manner {
    /// Slots forgotten (the name and the kind last).
    pub forget: usize,
    /// Slots given another value.
    pub swap: usize,
    /// Slots made up.
    pub invent: usize,
    /// Fillers and preambles.
    pub wordy: usize,
    /// Slots said a second time.
    pub repeat: usize,
    /// Friendly closings.
    pub closings: usize,
    /// Probability that it does not begin with the name.
    pub name_later: f64,
    /// Words broken.
    pub garble: usize,
    /// A list instead of sentences.
    pub list: bool,
    /// One long sentence with "and".
    pub run_on: bool,
    /// One word said twice over.
    pub stutter: bool,
    /// Stops in the middle.
    pub cut: bool,
    /// No closing punctuation.
    pub open_end: bool,
}

/// Says `place` in this manner.
pub fn speak(place: &Place, manner: &Manner, dice: &mut Dice) -> String {
    let place = mistake(place, manner, dice);
    let mut sentences = if manner.list { list(&place) } else { describe(&place, manner, dice) };
    for _ in 0..manner.repeat {
        let slots: Vec<Slot> = place.slots().filter(|s| !matches!(s, Slot::Name | Slot::Kind)).collect();
        if !slots.is_empty() {
            let slot = *dice.pick(&slots);
            sentences.push(sentence(&clause(&place, slot, dice)));
        }
    }
    for _ in 0..manner.wordy {
        let at = dice.below(sentences.len() + 1);
        if dice.chance(0.5) || at == sentences.len() || at == 0 {
            sentences.insert(at.max(1), dice.pick(FILLERS).to_string());
        } else {
            sentences[at] = format!("{} {}", dice.pick(PREAMBLES), uncapital(&sentences[at]));
        }
    }
    let first = dice.below(CLOSINGS.len());
    // Those who overdo it say the same again as often as something else.
    let step = dice.below(2);
    sentences.extend((0..manner.closings).map(|i| CLOSINGS[(first + i * step) % CLOSINGS.len()].to_string()));
    let text = sentences.join(" ");
    blemish(text, manner, dice)
}

/// The place as this speaker has it in mind.
fn mistake(place: &Place, manner: &Manner, dice: &mut Dice) -> Place {
    let mut said = *place;
    for _ in 0..manner.invent {
        let silent: Vec<Slot> = said.silent().filter(|&s| s != Slot::Name && s != Slot::Kind).collect();
        if !silent.is_empty() {
            let slot = *dice.pick(&silent);
            said = said.with(slot, Some(said.draw_value(slot, dice)));
        }
    }
    for _ in 0..manner.swap {
        let given: Vec<Slot> = place.slots().collect();
        let slot = *dice.pick(&given);
        said = said.with(slot, Some(said.draw_other(slot, dice)));
    }
    for _ in 0..manner.forget {
        let given: Vec<Slot> = said.slots().collect();
        let weights: Vec<f64> = given.iter().map(|s| if matches!(s, Slot::Name | Slot::Kind) { 0.15 } else { 1.0 }).collect();
        if given.len() > 2 {
            said = said.with(given[dice.weighted(&weights)], None);
        }
    }
    said
}

/// A head sentence that names the place, then the other slots in clauses of their own or by twos.
fn describe(place: &Place, manner: &Manner, dice: &mut Dice) -> Vec<String> {
    let mut rest: Vec<Slot> = place.slots().filter(|s| !matches!(s, Slot::Name | Slot::Kind)).collect();
    let take = |slot: Slot, p: f64, rest: &mut Vec<Slot>, dice: &mut Dice| {
        let there = rest.contains(&slot) && dice.chance(p);
        rest.retain(|&s| s != slot || !there);
        there
    };
    let value = |slot: Slot| place.get(slot).map(|v| &slot.values()[v]);

    // "cheap, well liked": at most two adjectives before the noun.
    let mut adjectives = Vec::new();
    for (slot, p) in [(Slot::Price, 0.6), (Slot::Rating, 0.3), (Slot::Families, 0.3)] {
        let has = value(slot).is_some_and(|v| !v.adjective.is_empty());
        if has && adjectives.len() < 2 && take(slot, p, &mut rest, dice) {
            adjectives.extend(value(slot).map(|v| v.adjective));
        }
    }
    let later = dice.chance(manner.name_later);
    let wish = later && rest.contains(&Slot::Offers) && dice.chance(0.5);
    let serving = !later && rest.contains(&Slot::Offers) && dice.chance(0.25);
    if wish || serving {
        rest.retain(|&s| s != Slot::Offers);
    }
    let mut where_is = Vec::new();
    for (slot, p) in [(Slot::Area, 0.7), (Slot::Near, 0.5)] {
        if take(slot, p, &mut rest, dice) {
            where_is.extend(value(slot).map(|v| *dice.pick(v.at)));
        }
    }
    let kind = value(Slot::Kind).map_or("place", |v| v.key);
    let mut noun = adjectives.join(", ");
    for part in [kind, &where_is.join(", ")] {
        if !part.is_empty() {
            noun = if noun.is_empty() { part.to_string() } else { format!("{noun} {part}") };
        }
    }
    // "an expensive cafe", the only word here that begins with a vowel.
    let article = if noun.starts_with('e') { "an" } else { "a" };
    let offers = place.word(Slot::Offers).unwrap_or_default();
    let serves = if place.eating() == Some(false) { "shows" } else { "serves" };
    let head = match (place.get(Slot::Name).map(name), later) {
        (Some(name), _) if wish => format!("If you like {offers}, try {name}, {article} {noun}."),
        (Some(name), true) => format!("There is {article} {} called {name}.", noun.replace(',', "")),
        (Some(name), _) if serving => format!("{name}, {article} {noun}, {serves} {offers}."),
        (Some(name), _) => format!("{name} is {article} {noun}."),
        (None, _) if wish || serving => format!("This is {article} {noun}, known for its {offers}."),
        (None, _) => format!("This is {article} {noun}."),
    };
    if dice.chance(0.3) {
        dice.shuffle(&mut rest);
    }
    let clauses: Vec<String> = rest.iter().map(|&slot| clause(place, slot, dice)).collect();
    let mut sentences = vec![head];
    if manner.run_on {
        let all: Vec<String> = sentences.drain(..).map(|s| s.trim_end_matches('.').to_string()).chain(clauses).collect();
        return vec![format!("{}.", all.join(" and "))];
    }
    let mut i = 0;
    while i < clauses.len() {
        let bids = |c: &str| ["come", "bring", "leave"].iter().any(|b| c.starts_with(b));
        match clauses.get(i + 1) {
            Some(next) if bids(&clauses[i]) == bids(next) && dice.chance(0.4) => {
                sentences.push(sentence(&format!("{}, and {next}", clauses[i])));
                i += 2;
            }
            _ => {
                sentences.push(sentence(&clauses[i]));
                i += 1;
            }
        }
    }
    sentences
}

/// One clause that says `slot`, without capital and full stop.
pub(super) fn clause(place: &Place, slot: Slot, dice: &mut Dice) -> String {
    match (slot, place.get(slot)) {
        (Slot::Offers, Some(v)) => {
            let kind = if place.eating() == Some(false) { OFFER_CLAUSES[1] } else { OFFER_CLAUSES[0] };
            let form = if dice.chance(0.6) { dice.pick(kind) } else { dice.pick(OFFER_CLAUSES[2]) };
            form.replace("{}", slot.values()[v].key)
        }
        (Slot::Name, Some(v)) => format!("this is {}", name(v)),
        (Slot::Kind, Some(v)) => format!("it is a {}", slot.values()[v].key),
        (slot, Some(v)) => dice.pick(slot.values()[v].clauses).to_string(),
        (_, None) => String::new(),
    }
}

/// "The Blue Fig, cafe, cheap, harbour."
fn list(place: &Place) -> Vec<String> {
    let words = place.slots().map(|slot| match place.get(slot) {
        Some(v) if slot != Slot::Name && !slot.values()[v].adjective.is_empty() => slot.values()[v].adjective.to_string(),
        Some(v) if matches!(slot, Slot::Rating | Slot::Families) => slot.values()[v].clauses[0].to_string(),
        _ => place.word(slot).unwrap_or_default(),
    });
    vec![format!("{}.", words.collect::<Vec<_>>().join(", "))]
}

/// Faults of the hand: broken and doubled words, a lost end.
fn blemish(text: String, manner: &Manner, dice: &mut Dice) -> String {
    let mut words: Vec<String> = text.split(' ').map(String::from).collect();
    for _ in 0..manner.garble {
        let i = dice.below(words.len());
        let mut letters: Vec<char> = words[i].chars().collect();
        let at = dice.below(letters.len().saturating_sub(2).max(1));
        match dice.below(3) {
            0 if letters.len() > 3 => drop(letters.remove(at + 1)),
            1 if letters.len() > 3 => letters.swap(at, at + 1),
            _ => letters.insert(at, letters[at]),
        }
        words[i] = letters.into_iter().collect();
    }
    if manner.stutter {
        let i = dice.below(words.len());
        let word = words[i].trim_end_matches(['.', ',', '!']).to_string();
        words.insert(i, word);
    }
    if manner.cut {
        let keep = words.len() * (50 + dice.below(35)) / 100;
        words.truncate(keep.max(3));
    }
    let mut text = words.join(" ");
    if manner.open_end || manner.cut {
        text.truncate(text.trim_end_matches(['.', '!', '?', ',']).len());
    }
    text
}

pub(super) fn sentence(clause: &str) -> String {
    format!("{}.", capital(clause))
}

pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn uncapital(text: &str) -> String {
    // Names keep their capital.
    if text.starts_with("The ") && !text.starts_with("The prices") {
        return text.into();
    }
    let mut chars = text.chars();
    chars.next().map(|c| c.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::gold::score;
    use super::*;

    fn average(manner: Manner, n: usize) -> (f64, usize) {
        let mut dice = Dice::new(5, "speak");
        let golds: Vec<_> = (0..n)
            .map(|_| {
                let place = Place::draw(&mut dice);
                let text = speak(&place, &manner, &mut dice);
                score(&place, &text)
            })
            .collect();
        (golds.iter().map(|g| g.gold).sum::<f64>() / n as f64, golds.iter().filter(|g| g.gold == 4.0).count())
    }

    #[test]
    fn a_faultless_manner_is_gold_and_each_fault_costs() {
        let best = Manner { closings: 1, ..Manner::default() };
        let mut dice = Dice::new(9, "faultless");
        for _ in 0..2000 {
            let place = Place::draw(&mut dice);
            let text = speak(&place, &best, &mut dice);
            let g = score(&place, &text);
            assert!(g.right == g.given && g.wrong == 0 && g.garbled == 0 && g.clumsy == 0, "{}\n{text}\n{g:?}", place.prompt());
            assert!(g.gold >= 3.0, "{text}\n{g:?}");
        }
        let (top, perfect) = average(best, 1000);
        assert!(top > 3.9 && perfect > 850, "{top} {perfect}");
        for (fault, manner) in [
            ("forget", Manner { forget: 1, ..best }),
            ("swap", Manner { swap: 1, ..best }),
            ("invent", Manner { invent: 1, ..best }),
            ("wordy", Manner { wordy: 2, ..best }),
            ("repeat", Manner { repeat: 1, ..best }),
            ("no closing", Manner { closings: 0, ..best }),
            ("many closings", Manner { closings: 3, ..best }),
            ("name later", Manner { name_later: 1.0, ..best }),
            ("garble", Manner { garble: 1, ..best }),
            ("list", Manner { list: true, ..best }),
            ("run on", Manner { run_on: true, ..best }),
            ("stutter", Manner { stutter: true, ..best }),
            ("cut", Manner { cut: true, ..best }),
            ("open end", Manner { open_end: true, ..best }),
        ] {
            let (mean, _) = average(manner, 1000);
            assert!(mean < top - 0.1, "{fault}: {mean} against {top}");
        }
    }
}

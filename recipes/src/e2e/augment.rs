//! More demonstrations from few: the same sentences about places of other names, and meanings with their slots in another order.
//!
//! E2E's development set knows twenty names; a model can learn them by heart instead of reading the prompt, and then says the wrong one of a
//! place it has never met. Each copy replaces name and neighbour by invented ones, in the meaning and in the sentence, so that only copying from the
//! prompt helps (delexicalisation's other half, arXiv 1706.09254 §4), and shuffles the slots, whose order means nothing.

use super::meaning::{Meaning, Slot};
use crate::dice::Dice;
use data::config::{self, Columns, Source};
use data::error::DataError;
use data::quarantine::{Quarantine, Reason};
use data::source;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// First words of invented names.
const FIRST: &[&str] = &[
    "Amber",
    "Black",
    "Broken",
    "Copper",
    "Crimson",
    "Crooked",
    "Dancing",
    "Eastern",
    "Gilded",
    "Golden",
    "Grand",
    "Grey",
    "Humble",
    "Hungry",
    "Ivory",
    "Jolly",
    "Laughing",
    "Little",
    "Lower",
    "Lucky",
    "Merry",
    "Noble",
    "Northern",
    "Old",
    "Quiet",
    "Royal",
    "Rusty",
    "Salty",
    "Silver",
    "Sleepy",
    "Southern",
    "Sunny",
    "Tiny",
    "Twisted",
    "Upper",
    "Velvet",
    "Wandering",
    "Western",
    "White",
    "Wild",
];
/// Second words of invented names.
const SECOND: &[&str] = &[
    "Anchor", "Badger", "Barrel", "Bell", "Bridge", "Castle", "Cellar", "Clover", "Compass", "Crown", "Elm", "Fox", "Garden", "Goose",
    "Hare", "Harvest", "Hearth", "Heron", "Kettle", "Ladle", "Lantern", "Lily", "Lion", "Maple", "Miller", "Oak", "Orchard", "Owl",
    "Pantry", "Pear", "Plate", "Rooster", "Rose", "Sailor", "Salmon", "Sparrow", "Spoon", "Stag", "Swan", "Table", "Thistle", "Tiger",
    "Tower", "Trout", "Wagon", "Wheel", "Willow",
];
/// Names of one word.
const SINGLE: &[&str] = &[
    "Aurora", "Basilio", "Bellucci", "Calico", "Corvina", "Delmar", "Dunmore", "Fenwick", "Harlow", "Juniper", "Kiyoto", "Larissa",
    "Lumina", "Marovia", "Monteco", "Osteria", "Palermo", "Pellino", "Saffron", "Solstice", "Sorano", "Tamarind", "Tandoori", "Verona",
    "Zarino",
];
/// What may follow a name of one word.
const HOUSE: &[&str] = &["Arms", "Bar", "Grill", "Hotel", "House", "Inn", "Kitchen", "Rooms"];

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmented {
    /// Rows read.
    pub read: u64,
    /// Rows that are no demonstration; they are in the quarantine.
    pub rejected: u64,
    /// Rows written, the originals included.
    pub written: u64,
}

/// Writes every row of `input` (columns `mr` and `ref`), and `copies` variations of it, as `prompt`, `response` and `group` (the meaning as it was,
/// so that no variation of a held-out row is learned from). Rows without a meaning go to `quarantine`. Equal seeds write equal bytes.
pub fn augment(input: &Path, output: &Path, quarantine: &Path, copies: usize, seed: u64) -> Result<Augmented, DataError> {
    let columns = Columns { prompt: "mr".into(), response: "ref".into(), ..Columns::default() };
    let source = Source { path: input.display().to_string(), columns, ..Source::default() };
    let mut bad = Quarantine::new(quarantine);
    let mut dice = Dice::new(seed, "augment");
    let (mut text, mut written) = (String::new(), 0);
    let read = source::read(&source, &mut bad, &mut |row, bad| {
        let field = |name: &str| row.fields.get(name).and_then(Value::as_str);
        let (Some(prompt), Some(response)) = (field("mr"), field("ref")) else {
            bad.reject_row(&row, Reason::MissingField, "a demonstration has columns mr and ref");
            return Ok(());
        };
        let meaning = match Meaning::parse(prompt) {
            Ok(meaning) => meaning,
            Err(e) => {
                bad.reject_row(&row, Reason::WrongType, e.to_string());
                return Ok(());
            }
        };
        let mut write = |p: &str, r: &str| {
            let _ = writeln!(text, "{}", json!({ "prompt": p, "response": r, "group": prompt })); // writing to a String cannot fail
            written += 1;
        };
        write(prompt, response);
        for _ in 0..copies {
            let (p, r) = vary(&meaning, response, &mut dice);
            write(&p, &r);
        }
        Ok(())
    })?;
    let report = bad.finish(&config::Quarantine::default(), read)?;
    let part = output.with_extension("part"); // whole or not at all
    std::fs::write(&part, text).map_err(DataError::io("write", &part))?;
    std::fs::rename(&part, output).map_err(DataError::io("rename", &part))?;
    Ok(Augmented { read, rejected: report.rejected, written })
}

/// One variation of a demonstration: prompt and response.
fn vary(meaning: &Meaning, response: &str, dice: &mut Dice) -> (String, String) {
    let mut slots = meaning.slots().to_vec();
    let mut parts = vec![(response.to_string(), false)]; // texts, and whether they are done
    for (_, value) in slots.iter_mut().filter(|(slot, _)| matches!(slot, Slot::Name | Slot::Near)) {
        if !response.contains(value.as_str()) {
            continue; // paraphrased: leave both as they are
        }
        let new = invent(dice);
        parts = parts.into_iter().flat_map(|part| replace(part, value, &new)).collect();
        *value = new;
    }
    dice.shuffle(&mut slots);
    let prompt: Vec<String> = slots.iter().map(|(slot, value)| format!("{}[{value}]", slot.key())).collect();
    (prompt.join(", "), parts.into_iter().map(|(text, _)| text).collect())
}

/// Replaces `old` in a text that is not done; what is put in is done, so that one invented name is never replaced by another.
fn replace((text, done): (String, bool), old: &str, new: &str) -> Vec<(String, bool)> {
    if done {
        return vec![(text, true)];
    }
    let mut out = Vec::new();
    for (i, piece) in text.split(old).enumerate() {
        if i > 0 {
            out.push((new.to_string(), true));
        }
        out.push((piece.to_string(), false));
    }
    out
}

/// A name as places have them, of six kinds.
fn invent(dice: &mut Dice) -> String {
    let (first, second, single) = (dice.pick(FIRST), dice.pick(SECOND), dice.pick(SINGLE));
    match dice.below(7) {
        0 => format!("The {first} {second}"),
        1 => format!("{first} {second}"),
        2 => format!("The {second}"),
        3 => single.to_string(),
        4 => format!("{single} {}", dice.pick(HOUSE)),
        5 => format!("Café {single}"),
        _ => format!("{second} and {}", dice.pick(SECOND)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::e2e::score_meaning;

    #[test]
    fn a_variation_says_its_own_meaning_as_well_as_the_original_does() {
        let meaning = Meaning::parse("name[Cotto], near[Café Rouge], area[riverside]").unwrap();
        let mut dice = Dice::new(1, "test");
        let mut seen = std::collections::HashSet::new();
        for _ in 0..50 {
            let (prompt, varied) = vary(&meaning, "Cotto is near Café Rouge, riverside.", &mut dice);
            let m = Meaning::parse(&prompt).unwrap();
            assert!(!varied.contains("Cotto") && !varied.contains("Rouge"), "{varied}");
            assert_eq!(score_meaning(&m, &varied).coverage, 1.0, "{prompt}: {varied}");
            seen.insert((prompt, varied));
        }
        assert!(seen.len() > 45);
    }

    #[test]
    fn a_name_that_the_sentence_does_not_say_stays() {
        let meaning = Meaning::parse("name[Cotto], near[Café Rouge]").unwrap();
        let (prompt, response) = vary(&meaning, "Cotto is near the red cafe.", &mut Dice::new(1, "test"));
        assert!(prompt.contains("near[Café Rouge]") && !prompt.contains("Cotto"), "{prompt}");
        assert!(response.ends_with(" is near the red cafe."));
    }
}

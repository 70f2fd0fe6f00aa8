//! A place: which slots it has, and which values. Its prompt, and back.

use super::vocabulary::{ADJECTIVES, EATING_KINDS, EATING_OFFERS, NOUNS, Slot};
use crate::dice::Dice;

/// Values by slot, as numbers within the slot's table; `None` where the prompt is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Place([Option<u16>; 8]);

impl Place {
    /// The value of `slot`.
    pub fn get(&self, slot: Slot) -> Option<usize> {
        self.0[slot as usize].map(usize::from)
    }

    /// This place with another value, or none.
    pub fn with(mut self, slot: Slot, value: Option<usize>) -> Place {
        self.0[slot as usize] = value.map(|v| v as u16);
        self
    }

    /// Slots that are given, in order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        Slot::ALL.into_iter().filter(|&s| self.get(s).is_some())
    }

    /// Slots that are not given, in order.
    pub fn silent(&self) -> impl Iterator<Item = Slot> + '_ {
        Slot::ALL.into_iter().filter(|&s| self.get(s).is_none())
    }

    /// A place with name, kind, and two to four more slots.
    pub fn draw(dice: &mut Dice) -> Place {
        let mut more = [Slot::Offers, Slot::Price, Slot::Area, Slot::Rating, Slot::Families, Slot::Near];
        dice.shuffle(&mut more);
        let count = 2 + dice.weighted(&[0.35, 0.40, 0.25]);
        let mut place = Place::default();
        for slot in [Slot::Name, Slot::Kind].into_iter().chain(more.into_iter().take(count)) {
            place = place.with(slot, Some(place.draw_value(slot, dice)));
        }
        place
    }

    /// Any value of `slot` that goes with the rest: bakeries do not show sea maps.
    pub fn draw_value(&self, slot: Slot, dice: &mut Dice) -> usize {
        match (slot, self.eating()) {
            (Slot::Offers, Some(true)) => dice.below(EATING_OFFERS),
            (Slot::Offers, Some(false)) => EATING_OFFERS + dice.below(slot.count() - EATING_OFFERS),
            _ => dice.below(slot.count()),
        }
    }

    /// Another value of `slot` than the one given; of a name, only one of the two words changes.
    pub fn draw_other(&self, slot: Slot, dice: &mut Dice) -> usize {
        loop {
            let new = match (slot, self.get(slot)) {
                (Slot::Name, Some(old)) if dice.chance(0.5) => old / NOUNS.len() * NOUNS.len() + dice.below(NOUNS.len()),
                (Slot::Name, Some(old)) => dice.below(ADJECTIVES.len()) * NOUNS.len() + old % NOUNS.len(),
                _ => self.draw_value(slot, dice),
            };
            if Some(new) != self.get(slot) {
                return new;
            }
        }
    }

    /// Whether one eats there; `None` when the kind is not given.
    pub fn eating(&self) -> Option<bool> {
        self.get(Slot::Kind).map(|k| k < EATING_KINDS)
    }

    /// The words of a slot's value as the prompt has them.
    pub fn word(&self, slot: Slot) -> Option<String> {
        Some(match (slot, self.get(slot)?) {
            (Slot::Name, v) => name(v),
            (slot, v) => slot.values()[v].key.to_string(),
        })
    }

    /// `name: The Blue Fig | kind: cafe | price: cheap`
    pub fn prompt(&self) -> String {
        let parts: Vec<String> = self.slots().filter_map(|s| Some(format!("{}: {}", s.key(), self.word(s)?))).collect();
        parts.join(" | ")
    }

    /// Reads a prompt back. Slots and values outside the world are passed over.
    pub fn parse(prompt: &str) -> Place {
        let mut place = Place::default();
        for part in prompt.split(['|', '\n']) {
            let Some((key, word)) = part.split_once(':') else { continue };
            let (key, word) = (key.trim(), word.trim());
            let Some(slot) = Slot::ALL.into_iter().find(|s| s.key() == key) else { continue };
            let value = match slot {
                Slot::Name => parse_name(word),
                _ => slot.values().iter().position(|v| v.key == word),
            };
            if value.is_some() {
                place = place.with(slot, value);
            }
        }
        place
    }
}

/// The name with this number.
pub fn name(value: usize) -> String {
    format!("The {} {}", ADJECTIVES[value / NOUNS.len()], NOUNS[value % NOUNS.len()])
}

fn parse_name(text: &str) -> Option<usize> {
    let (first, second) = text.strip_prefix("The ").unwrap_or(text).split_once(' ')?;
    let (a, n) = (ADJECTIVES.iter().position(|&a| a == first)?, NOUNS.iter().position(|&n| n == second)?);
    Some(a * NOUNS.len() + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_read_back() {
        let mut dice = Dice::new(3, "places");
        for _ in 0..500 {
            let place = Place::draw(&mut dice);
            assert_eq!(Place::parse(&place.prompt()), place);
            assert!((4..=6).contains(&place.slots().count()));
            let slot = *dice.pick(&place.slots().collect::<Vec<_>>());
            assert_ne!(Some(place.draw_other(slot, &mut dice)), place.get(slot));
        }
        assert_eq!(Place::parse("name: The Grey Fig | colour: red | price"), Place::default());
    }
}

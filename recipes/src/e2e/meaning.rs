//! Meaning representations: `name[Blue Spice], eatType[coffee shop], area[city centre]`.

/// A slot of the E2E data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The restaurant's name.
    Name,
    /// Restaurant, pub or coffee shop.
    EatType,
    /// Cuisine.
    Food,
    /// Prices.
    Price,
    /// What customers think.
    Rating,
    /// City centre or riverside.
    Area,
    /// Whether families are welcome.
    Family,
    /// The place beside it.
    Near,
}

impl Slot {
    /// All slots.
    pub const ALL: [Slot; 8] = [Slot::Name, Slot::EatType, Slot::Food, Slot::Price, Slot::Rating, Slot::Area, Slot::Family, Slot::Near];

    /// Its word in the meaning representation.
    pub fn key(self) -> &'static str {
        ["name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near"][self as usize]
    }

    fn from_key(key: &str) -> Option<Slot> {
        let plain = |s: &str| s.to_lowercase().replace([' ', '_'], "");
        Slot::ALL.into_iter().find(|s| plain(s.key()) == plain(key))
    }
}

/// A parsed meaning representation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meaning(Vec<(Slot, String)>);

/// A text that is no meaning representation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeaningError {
    /// There is no `slot[value]` in it.
    #[error("no meaning representation in {0:?}; it must be like name[Blue Spice], eatType[coffee shop]")]
    Empty(String),
    /// A slot that E2E does not have.
    #[error("unknown slot {0:?}; known are name, eatType, food, priceRange, customer rating, area, familyFriendly, near")]
    Slot(String),
    /// A slot without a value says nothing.
    #[error("slot {0:?} has no value; it must be like {0}[something]")]
    Value(&'static str),
}

impl Meaning {
    /// Parses `slot[value], slot[value]`.
    pub fn parse(text: &str) -> Result<Meaning, MeaningError> {
        let mut slots = Vec::new();
        for part in text.split(']') {
            let Some((key, value)) = part.split_once('[') else { continue };
            let key = key.trim_matches(|c: char| !c.is_alphanumeric());
            let slot = Slot::from_key(key).ok_or_else(|| MeaningError::Slot(key.chars().take(40).collect()))?;
            let value = value.trim();
            if value.is_empty() {
                return Err(MeaningError::Value(slot.key()));
            }
            slots.push((slot, value.to_string()));
        }
        if slots.is_empty() {
            return Err(MeaningError::Empty(text.chars().take(60).collect()));
        }
        Ok(Meaning(slots))
    }

    /// A meaning of these slots.
    pub(super) fn new(slots: Vec<(Slot, String)>) -> Meaning {
        Meaning(slots)
    }

    /// All slots with their values, in the order of the text.
    pub fn slots(&self) -> &[(Slot, String)] {
        &self.0
    }

    /// The value of `slot`.
    pub fn get(&self, slot: Slot) -> Option<&str> {
        self.0.iter().find(|(s, _)| *s == slot).map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_and_wrong_text_is_refused() {
        let m = Meaning::parse("name[The Mill], customer rating[5 out of 5], priceRange[£20-25]").unwrap();
        assert_eq!((m.get(Slot::Rating), m.get(Slot::Price), m.get(Slot::Near)), (Some("5 out of 5"), Some("£20-25"), None));
        assert!(matches!(Meaning::parse("hello"), Err(MeaningError::Empty(_))));
        assert_eq!(Meaning::parse("colour[red]"), Err(MeaningError::Slot("colour".into())));
        assert_eq!(Meaning::parse("name[The Mill], near[ ]"), Err(MeaningError::Value("near")));
    }
}

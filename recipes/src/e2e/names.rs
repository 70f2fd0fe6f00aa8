//! Invented names of places.
//!
//! A third of their words are made of syllables: a list alone, however long, is learned by heart, and then a name outside of it
//! is replaced by one of the list instead of being copied.

use crate::dice::Dice;

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

/// Words of longer names, of any kind.
const ANY: &[&str] = &[
    "Acorn", "Almond", "Apple", "Autumn", "Avenue", "Baker", "Basil", "Beacon", "Berry", "Birch", "Blossom", "Breeze", "Brook", "Butler",
    "Candle", "Canal", "Captain", "Cedar", "Chapel", "Cherry", "Clock", "Cloud", "Coal", "Corner", "Cottage", "Country", "Cup", "Dragon",
    "Drum", "Duke", "Earl", "Eight", "Ember", "Empire", "Evening", "Falcon", "Farm", "Feather", "Field", "Fig", "First", "Five", "Flame",
    "Forest", "Forge", "Fork", "Four", "Friends", "Gate", "Ginger", "Glass", "Grape", "Green", "Grove", "Hall", "Harbour", "Hazel",
    "Heath", "Hill", "Holly", "Honey", "Horse", "Hound", "Iron", "Island", "Jade", "Jasmine", "Jug", "King", "Knight", "Lake", "Lamb",
    "Lamp", "Lemon", "Linden", "Lodge", "Lord", "Lotus", "Manor", "Market", "Meadow", "Mint", "Moon", "Morning", "Mountain", "Mulberry",
    "Nest", "Nine", "Oasis", "Ocean", "Olive", "One", "Onyx", "Open", "Orange", "Palm", "Paper", "Parlour", "Parrot", "Peacock", "Pepper",
    "Pilot", "Pine", "Pines", "Planet", "Poet", "Pond", "Poplar", "Prince", "Queen", "Rabbit", "Raven", "Red", "Reed", "Ribbon", "Road",
    "Robin", "Rocket", "Rope", "Ruby", "Sage", "Sail", "Sand", "Saturn", "School", "Seven", "Shell", "Six", "Smith", "Snow", "Spice",
    "Spring", "Square", "Stable", "Star", "Station", "Stone", "Street", "Studio", "Summer", "Sun", "Tavola", "Tea", "Temple", "Ten",
    "Terrace", "Three", "Tree", "Two", "Union", "Urban", "Valley", "Vine", "Violet", "Walnut", "Water", "Wave", "Wells", "Wind", "Window",
    "Winter", "Wolf", "Wood", "Yard", "Yellow", "York", "Zephyr",
];
/// How syllables of made-up words begin.
const ONSETS: &[&str] = &[
    "b", "br", "c", "ch", "cl", "d", "dr", "f", "fl", "g", "gr", "h", "j", "k", "l", "m", "n", "p", "pl", "qu", "r", "s", "sh", "st", "t",
    "th", "tr", "v", "w", "z", "",
];
/// Their vowels.
const VOWELS: &[&str] = &["a", "e", "i", "o", "u", "ai", "ea", "ee", "io", "oo", "ou"];
/// How made-up words end.
const ENDS: &[&str] = &["", "", "n", "r", "s", "l", "tte", "ck", "nd", "x", "ro", "no", "ria", "lla", "ni"];

/// A name as places have them.
pub(super) fn invent(dice: &mut Dice) -> String {
    let (first, second) = (word(FIRST, dice), word(SECOND, dice));
    match dice.below(10) {
        0 => format!("The {first} {second}"),
        1 => format!("{first} {second}"),
        2 => format!("The {second}"),
        3 => word(SINGLE, dice),
        4 => format!("{} {}", word(SINGLE, dice), dice.pick(HOUSE)),
        5 => format!("Café {}", word(SINGLE, dice)),
        6 => format!("{first} {second} Café"),
        7 => format!("{second} and {}", word(SECOND, dice)),
        8 => format!("{first} {} {}", word(ANY, dice), word(ANY, dice)),
        _ => format!("{second} by {} {}", word(ANY, dice), word(ANY, dice)),
    }
}

/// A word of `list`, of [`ANY`], or made of syllables.
fn word(list: &[&str], dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => dice.pick(list).to_string(),
        1 => dice.pick(ANY).to_string(),
        _ => {
            let mut made = String::new();
            for _ in 0..2 + dice.below(2) {
                made += dice.pick::<&str>(ONSETS);
                made += dice.pick::<&str>(VOWELS);
            }
            made += dice.pick::<&str>(ENDS);
            made[..1].to_uppercase() + &made[1..]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_hardly_repeat_and_begin_as_names_do() {
        let mut dice = Dice::new(1, "names");
        let names: HashSet<String> = (0..1000).map(|_| invent(&mut dice)).collect();
        assert!(names.len() > 900, "{} of 1000", names.len());
        assert!(names.iter().all(|n| n.chars().next().is_some_and(char::is_uppercase) && n.trim() == n));
    }
}

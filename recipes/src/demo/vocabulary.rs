//! The words of the small world. One table for the speakers and for the gold reward: what can be said of a value (`clauses`,
//! `adjective`, `at`), and what counts as having said it (`patterns`, a little wider). Words of different values never overlap.

/// What a prompt may say of a place, in the order in which it says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// What it is called: an adjective and a noun of [`ADJECTIVES`] and [`NOUNS`].
    Name,
    /// What it is.
    Kind,
    /// What one eats or sees there.
    Offers,
    /// What it costs.
    Price,
    /// In which part of the town.
    Area,
    /// What people think of it.
    Rating,
    /// Whether children are welcome.
    Families,
    /// The landmark beside it.
    Near,
}

impl Slot {
    /// All slots, in the order of the prompt.
    pub const ALL: [Slot; 8] = [Slot::Name, Slot::Kind, Slot::Offers, Slot::Price, Slot::Area, Slot::Rating, Slot::Families, Slot::Near];

    /// Its word in the prompt.
    pub fn key(self) -> &'static str {
        ["name", "kind", "offers", "price", "area", "rating", "families", "near"][self as usize]
    }

    /// Its values; names are composed of two words and have none here.
    pub fn values(self) -> &'static [Value] {
        match self {
            Slot::Name => &[],
            Slot::Kind => KINDS,
            Slot::Offers => OFFERS,
            Slot::Price => PRICES,
            Slot::Area => AREAS,
            Slot::Rating => RATINGS,
            Slot::Families => FAMILIES,
            Slot::Near => LANDMARKS,
        }
    }

    /// How many values there are.
    pub fn count(self) -> usize {
        if self == Slot::Name { ADJECTIVES.len() * NOUNS.len() } else { self.values().len() }
    }
}

/// One value of a slot.
pub struct Value {
    /// Its word in the prompt.
    pub key: &'static str,
    /// Before the noun: "a *cheap* cafe". Empty where there is none.
    pub adjective: &'static str,
    /// After the noun: "a cafe *at the harbour*". Empty where there is none.
    pub at: &'static [&'static str],
    /// Whole clauses without capital and full stop.
    pub clauses: &'static [&'static str],
    /// What counts as saying it (see [`crate::phrases`]).
    pub patterns: &'static [&'static str],
}

const fn value(
    key: &'static str,
    adjective: &'static str,
    at: &'static [&'static str],
    clauses: &'static [&'static str],
    patterns: &'static [&'static str],
) -> Value {
    Value { key, adjective, at, clauses, patterns }
}

/// First words of names.
pub const ADJECTIVES: &[&str] = &["Blue", "Golden", "Little", "Silent", "Crooked", "Happy", "Red", "Silver", "Brave", "Lazy"];

/// Second words of names.
pub const NOUNS: &[&str] = &["Fig", "Lantern", "Anchor", "Fox", "Owl", "Kettle", "Heron", "Barrel", "Willow", "Compass", "Pear", "Sparrow"];

/// The first so many of [`KINDS`] and of [`OFFERS`] are for eating, the others for visiting.
pub const EATING_KINDS: usize = 4;
/// See [`EATING_KINDS`].
pub const EATING_OFFERS: usize = 6;

const KINDS: &[Value] = &[
    value("cafe", "", &[], &[], &["cafe|cafes"]),
    value("bakery", "", &[], &[], &["bakery|bakeries"]),
    value("tavern", "", &[], &[], &["tavern|taverns"]),
    value("diner", "", &[], &[], &["diner|diners"]),
    value("museum", "", &[], &[], &["museum|museums"]),
    value("theatre", "", &[], &[], &["theatre|theatres"]),
    value("garden", "", &[], &[], &["garden|gardens"]),
];

const OFFERS: &[Value] = &[
    value("dumplings", "", &[], &[], &["dumpling|dumplings"]),
    value("pancakes", "", &[], &[], &["pancake|pancakes"]),
    value("noodles", "", &[], &[], &["noodle|noodles"]),
    value("soup", "", &[], &[], &["soup|soups"]),
    value("curry", "", &[], &[], &["curry|curries"]),
    value("cake", "", &[], &[], &["cake|cakes"]),
    value("clocks", "", &[], &[], &["clock|clocks"]),
    value("roses", "", &[], &[], &["rose|roses"]),
    value("boats", "", &[], &[], &["boat|boats"]),
    value("maps", "", &[], &[], &["map|maps"]),
    value("puppets", "", &[], &[], &["puppet|puppets"]),
];

const PRICES: &[Value] = &[
    value(
        "cheap",
        "cheap",
        &[],
        &["it is cheap", "the prices are low", "it costs little"],
        &["cheap|cheaply|cheaper|inexpensive", "low prices|price", "prices|price are|is low", "costs little", "not expensive"],
    ),
    value(
        "fair",
        "fairly priced",
        &[],
        &["it is fairly priced", "the prices are fair"],
        &["fairly|moderately priced", "fair prices|price", "prices|price are|is fair"],
    ),
    value(
        "expensive",
        "expensive",
        &[],
        &["it is expensive", "the prices are high", "it costs a lot"],
        &["expensive", "high prices|price", "prices|price are|is high|steep", "costs a lot", "not cheap"],
    ),
];

const AREAS: &[Value] = &[
    value("harbour", "", &["at the harbour"], &["it is at the harbour", "you will find it at the harbour"], &["harbour"]),
    value("riverside", "", &["on the riverside"], &["it is on the riverside", "you will find it on the riverside"], &["riverside"]),
    value("market", "", &["at the market"], &["it is at the market", "you will find it at the market"], &["market"]),
    value("hilltop", "", &["on the hilltop"], &["it is on the hilltop", "you will find it on the hilltop"], &["hilltop"]),
    value("suburbs", "", &["in the suburbs"], &["it is in the suburbs", "you will find it in the suburbs"], &["suburb|suburbs"]),
];

const RATINGS: &[Value] = &[
    value(
        "loved",
        "much loved",
        &[],
        &["people love it", "it has top marks"],
        &["much|well loved", "people|everyone|visitors love|loves it|the", "top marks"],
    ),
    value(
        "liked",
        "well liked",
        &[],
        &["people like it", "it has good marks"],
        &["well liked", "people|visitors like it|the", "good marks"],
    ),
    value(
        "mixed",
        "",
        &[],
        &["opinions are mixed", "not everyone likes it"],
        &["opinions are|is ?very mixed|divided", "mixed opinions|reviews|marks", "not everyone likes|loves"],
    ),
];

const FAMILIES: &[Value] = &[
    value(
        "welcome",
        "family friendly",
        &[],
        &["children are welcome", "it is good for families", "bring the children"],
        &["children are ?very welcome", "good|great for families|children", "bring the|your children", "family friendly"],
    ),
    value(
        "no",
        "",
        &[],
        &["it is not for children", "it is for adults only", "leave the children at home"],
        &[
            "not ?good|great|meant for children|families",
            "adults only",
            "leave the|your children",
            "no children",
            "not family friendly",
            "children are not ?very welcome",
        ],
    ),
];

const LANDMARKS: &[Value] = &[
    landmark("bridge", &["near the bridge", "next to the bridge"], &["it is near the bridge", "it is next to the bridge"], &["bridge"]),
    landmark("tower", &["near the tower", "next to the tower"], &["it is near the tower", "it is next to the tower"], &["tower"]),
    landmark(
        "lighthouse",
        &["near the lighthouse", "next to the lighthouse"],
        &["it is near the lighthouse", "it is next to the lighthouse"],
        &["lighthouse"],
    ),
    landmark(
        "fountain",
        &["near the fountain", "next to the fountain"],
        &["it is near the fountain", "it is next to the fountain"],
        &["fountain"],
    ),
    landmark(
        "windmill",
        &["near the windmill", "next to the windmill"],
        &["it is near the windmill", "it is next to the windmill"],
        &["windmill"],
    ),
    landmark("castle", &["near the castle", "next to the castle"], &["it is near the castle", "it is next to the castle"], &["castle"]),
];

const fn landmark(
    key: &'static str,
    at: &'static [&'static str],
    clauses: &'static [&'static str],
    patterns: &'static [&'static str],
) -> Value {
    value(key, "", at, clauses, patterns)
}

/// Clauses for what one eats or sees; `{}` is the value. The first are for eating, then for visiting, then for both.
pub const OFFER_CLAUSES: [&[&str]; 3] =
    [&["it serves {}", "you can eat {} there"], &["it shows {}", "you can see {} there"], &["it is known for its {}", "come for the {}"]];

/// One of these at the end is friendly; more are too many.
pub const CLOSINGS: &[&str] = &["Enjoy your visit!", "Have a lovely time!", "See you there!", "You will like it."];

/// What wordy speakers put before a sentence.
pub const PREAMBLES: &[&str] =
    &["As everyone here will tell you,", "To be quite honest,", "I must say that", "It may be worth saying that", "If you ask me,"];

/// What wordy speakers say besides.
pub const FILLERS: &[&str] = &[
    "There is a lot more that one could say about it.",
    "It is one of those things that you have to see for yourself on a long day.",
    "I could go on and on about this, but I will not.",
    "It is, as they say, what it is and no more than that.",
    "That is all there is to say, or so I have been told by a friend.",
];

/// A sentence without one of these is no sentence.
pub const VERBS: &[&str] = &[
    "is", "are", "was", "were", "serves", "shows", "has", "have", "costs", "come", "try", "bring", "leave", "enjoy", "like", "likes",
    "love", "loves", "see", "eat", "will", "can", "could", "may", "find", "said", "say", "do", "go", "went", "take", "want", "must",
];

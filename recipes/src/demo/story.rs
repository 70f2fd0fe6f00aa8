//! Text to pre-train on: guide entries, diaries, talk in the street, comparisons and walks, all about places like those of the
//! prompts. A document says the same facts several times over, so that a small model learns to look back for them.

use super::place::{Place, name};
use super::speak::{Manner, capital, clause, sentence, speak};
use super::vocabulary::Slot;
use crate::dice::Dice;
use std::collections::HashSet;

/// All fixed texts of this module, for the lexicon of the gold reward.
pub(super) const TEXTS: &[&[&str]] =
    &[PEOPLE, DAYS, WEATHER, WALKS, VISITS, AFTER, QUESTIONS, REPLIES, THANKS, BOTH, CONTRAST, LISTS, NOTES, GENERAL, ALSO];

const PEOPLE: &[&str] = &["Mira", "Tom", "Ana", "Jonas", "Lena", "Otto", "Ruth", "Sami", "Nora", "Felix", "Ida", "Paul"];
const DAYS: &[&str] = &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const WEATHER: &[&str] = &[
    "The sun was warm.",
    "It rained all morning.",
    "A cold wind came from the sea.",
    "The sky was grey and the streets were quiet.",
    "Snow lay on the roofs.",
    "It was a bright day and the town was full of people.",
    "There was fog over the water.",
];
const WALKS: &[&str] = &[
    "{p} walked {a} and looked for {n}.",
    "{p} took the bus and got out {a}.",
    "{p} and {q} met {a}.",
    "{p} had heard of {n} from {q}.",
    "\"Let us go to {n},\" said {p}.",
    "{p} and {q} wanted to see {n}.",
];
const VISITS: &[&str] = &[
    "They stayed at {n} for two hours.",
    "{p} asked for {o}, and {q} asked for the same.",
    "They had come for the {o}, and they were not sorry.",
    "The door of {n} was open.",
    "They sat down by the window.",
    "{q} said that the {o} were the best in town.",
];
const AFTER: &[&str] = &[
    "In the evening they went home.",
    "\"I will come back to {n},\" said {p}.",
    "{p} wrote about {n} in a letter to {q}.",
    "Then they walked back {a}.",
    "{q} wants to go to {n} again on {d}.",
    "They were tired but happy.",
];
const QUESTIONS: &[&str] = &[
    "\"Where can I find {o}?\" asked {p}.",
    "\"Do you know a good {k}?\" asked {p}.",
    "\"Is there a {k} {a}?\" asked {p}.",
    "\"What do you know about {n}?\" asked {p}.",
    "\"Where shall we go on {d}?\" asked {p}.",
];
const REPLIES: &[&str] =
    &["\"Try {n},\" said {q}.", "\"Go to {n},\" said {q}.", "\"{n} is the right {k} for you,\" said {q}.", "\"I like {n},\" said {q}."];
const THANKS: &[&str] = &[
    "\"Thank you,\" said {p}.",
    "\"Then I will go there on {d},\" said {p}.",
    "\"That is good to know,\" said {p}.",
    "\"I have been there, and I liked it,\" said {p}.",
    "\"Enjoy your visit!\" said {q}.",
    "\"See you there!\" said {q}.",
];
const BOTH: &[&str] = &[
    "{n} and {m} are not far from each other.",
    "{p} goes to {n}, but {q} goes to {m}.",
    "Some say that {n} is better than {m}.",
    "There are two places that {p} likes: {n} and {m}.",
];
const CONTRAST: &[&str] = &["But {x}.", "On the other hand, {x}.", "And here {x}.", "As for the other one, {x}."];
const LISTS: &[&str] = &["Places {a}: {n}, {m} and {l}.", "On {d} {p} saw {n}, {m} and {l}.", "The best known are {n}, {m} and {l}."];
const NOTES: &[&str] = &["Notes on {n}:", "{n}, in short:", "From the guide to the town:", "{p} on {n}:", "A place to know:"];
const GENERAL: &[&str] = &[
    "The town has five parts, and each of them has its own people.",
    "Ships come to the harbour early in the morning.",
    "At the market one can buy fruit, bread and flowers.",
    "From the hilltop you can see the whole town and the sea.",
    "In the suburbs the houses are red.",
    "On the riverside people walk with their dogs.",
    "The bridge is as old as the town.",
    "The bell of the tower is always a little late.",
    "The lighthouse is white, and at night you can see its light from far away.",
    "Children play by the fountain in summer.",
    "The windmill has not turned for many years.",
    "Nobody lives in the castle now.",
    "A good cook needs salt, time and a friend.",
    "Bakers get up when others go to bed.",
    "A museum is a quiet place, but a theatre is not.",
    "In a garden there is always work to do.",
    "Who comes early gets the best seat.",
    "Tea is drunk from small cups here.",
    "One should not believe all that people say about prices.",
];
const ALSO: &[&str] = &["What is more, {x}.", "Besides, {x}.", "Also, {x}.", "You should know that {x}.", "{p} says that {x}."];

/// A document of one or a few paragraphs, about none of the places in `avoid`.
pub fn document(avoid: &HashSet<Place>, dice: &mut Dice) -> String {
    let draw = |dice: &mut Dice| loop {
        let place = Place::draw(dice);
        if !avoid.contains(&place) {
            return place;
        }
    };
    let (place, other) = (draw(dice), draw(dice));
    match dice.weighted(&[0.74, 0.09, 0.06, 0.06, 0.05]) {
        0 => guide(&place, dice),
        1 => diary(&place, dice),
        2 => talk(&place, dice),
        3 => comparison(&place, &other, dice),
        _ => walk(&place, &other, dice),
    }
}

/// Words for the braces of a template: places n, m, l; people p, q; day d; area a; kind k; what is offered o.
struct Scene {
    pairs: Vec<(&'static str, String)>,
}

impl Scene {
    fn new(place: &Place, other: &Place, dice: &mut Dice) -> Scene {
        let first = dice.below(PEOPLE.len());
        let second = (first + 1 + dice.below(PEOPLE.len() - 1)) % PEOPLE.len();
        let drawn = |slot: Slot, dice: &mut Dice| place.get(slot).unwrap_or_else(|| place.draw_value(slot, dice));
        let (area, offers) = (drawn(Slot::Area, dice), drawn(Slot::Offers, dice));
        let third = Place::draw(dice);
        let named = |p: &Place| name(p.get(Slot::Name).unwrap_or(0));
        Scene {
            pairs: vec![
                ("{n}", named(place)),
                ("{m}", named(other)),
                ("{l}", named(&third)),
                ("{p}", PEOPLE[first].into()),
                ("{q}", PEOPLE[second].into()),
                ("{d}", dice.pick(DAYS).to_string()),
                ("{a}", Slot::Area.values()[area].at[0].into()),
                ("{k}", place.word(Slot::Kind).unwrap_or_default()),
                ("{o}", Slot::Offers.values()[offers].key.into()),
            ],
        }
    }

    fn say(&self, from: &[&str], dice: &mut Dice) -> String {
        self.fill(dice.pick::<&str>(from))
    }

    fn fill(&self, template: &str) -> String {
        self.pairs.iter().fold(template.to_string(), |text, (hole, word)| text.replace(hole, word))
    }
}

/// Facts about a place as sentences, in any order, each with its own wording.
fn facts(place: &Place, most: usize, dice: &mut Dice) -> Vec<String> {
    let mut slots: Vec<Slot> = place.slots().filter(|&s| s != Slot::Name).collect();
    dice.shuffle(&mut slots);
    slots.truncate(most);
    slots.into_iter().map(|slot| clause(place, slot, dice)).collect()
}

/// "{n} is cheap": a fact with the name for its subject, where the sentence allows it.
fn with_name(place: &Place, fact: &str) -> String {
    let named = name(place.get(Slot::Name).unwrap_or(0));
    match (fact.strip_prefix("it "), fact.strip_suffix(" it")) {
        (Some(rest), _) => format!("{named} {rest}."),
        (_, Some(start)) => format!("{} {named}.", capital(start)),
        _ => sentence(fact),
    }
}

/// A heading with the bare facts, then the same facts in sentences.
fn guide(place: &Place, dice: &mut Dice) -> String {
    let scene = Scene::new(place, place, dice);
    let mut out = String::new();
    if dice.chance(0.4) {
        out += &format!("{}\n", scene.say(NOTES, dice));
    }
    let labelled = dice.chance(0.7);
    let bare: Vec<String> = place.slots().map(|slot| short(place, slot, labelled)).collect();
    out += &if labelled { format!("{}\n", bare.join(" | ")) } else { format!("{}.\n", bare.join(", ")) };
    if dice.chance(0.75) {
        // Several facts to the sentence, as visitors are told them.
        let manner = Manner { closings: usize::from(dice.chance(0.2)), name_later: 0.25, ..Manner::default() };
        return out + &speak(place, &manner, dice);
    }
    let mut lines = Vec::new();
    for (i, fact) in facts(place, 6, dice).iter().enumerate() {
        lines.push(match i {
            0 => with_name(place, fact),
            _ if dice.chance(0.15) => scene.say(ALSO, dice).replace("{x}", fact),
            _ if dice.chance(0.2) => with_name(place, fact),
            _ => sentence(fact),
        });
    }
    if dice.chance(0.3) {
        lines.push(dice.pick(super::vocabulary::CLOSINGS).to_string());
    }
    out + &lines.join(" ")
}

/// How the headings of guide entries put a slot: nearly the words of the prompt, and `labelled` the very ones.
fn short(place: &Place, slot: Slot, labelled: bool) -> String {
    let word = place.word(slot).unwrap_or_default();
    match slot {
        _ if labelled => format!("{}: {word}", slot.key()),
        Slot::Price => format!("price {word}"),
        Slot::Families => format!("families {word}"),
        Slot::Near => format!("near the {word}"),
        _ => word,
    }
}

fn diary(place: &Place, dice: &mut Dice) -> String {
    let scene = Scene::new(place, place, dice);
    let mut lines = vec![format!("{} {}", scene.fill("On {d} {p} and {q} went to {n}."), dice.pick(WEATHER))];
    if dice.chance(0.6) {
        lines.push(scene.say(WALKS, dice));
    }
    let facts = facts(place, 4, dice);
    for (i, fact) in facts.iter().enumerate() {
        lines.push(if i == 0 || dice.chance(0.25) { with_name(place, fact) } else { sentence(fact) });
    }
    if place.get(Slot::Offers).is_some() && dice.chance(0.8) {
        lines.push(scene.say(VISITS, dice));
    }
    lines.push(scene.say(AFTER, dice));
    lines.join(" ")
}

fn talk(place: &Place, dice: &mut Dice) -> String {
    let scene = Scene::new(place, place, dice);
    let mut lines = vec![scene.say(QUESTIONS, dice), scene.say(REPLIES, dice)];
    for fact in facts(place, 4, dice) {
        lines.push(if dice.chance(0.4) {
            scene.fill(&format!("\"{},\" said {{q}}.", capital(&fact)))
        } else {
            format!("\"{}\"", sentence(&fact))
        });
    }
    lines.push(scene.say(THANKS, dice));
    lines.join("\n")
}

fn comparison(place: &Place, other: &Place, dice: &mut Dice) -> String {
    let scene = Scene::new(place, other, dice);
    let mut lines = vec![scene.say(BOTH, dice)];
    for (p, rounds) in [(place, 3), (other, 3)] {
        for (i, fact) in facts(p, rounds, dice).iter().enumerate() {
            lines.push(match i {
                0 => with_name(p, fact),
                _ if dice.chance(0.2) => scene.say(CONTRAST, dice).replace("{x}", fact),
                _ => sentence(fact),
            });
        }
    }
    lines.join(" ")
}

fn walk(place: &Place, other: &Place, dice: &mut Dice) -> String {
    let scene = Scene::new(place, other, dice);
    let mut lines = vec![dice.pick(WEATHER).to_string()];
    for _ in 0..2 + dice.below(3) {
        lines.push(dice.pick(GENERAL).to_string());
    }
    lines.push(scene.say(LISTS, dice));
    lines.push(scene.say(WALKS, dice));
    lines.extend(facts(place, 2, dice).iter().map(|f| with_name(place, f)));
    lines.join(" ")
}

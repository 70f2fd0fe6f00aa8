//! Conversations about the small world (configs/family-chat): a system prompt says how to speak, the first turn names a place and what is known of it, and
//! questions follow that only the first turn can answer. Because the town is made up, what the right answer is is known:
//!
//! ```text
//! gold = 2 · right        the asked value is said, or, of what was not told, that it was not
//!      − 1 · wrong        every other value that is said
//!      + 0.5 · obeyed     a friendly closing where the system prompt wants one, none where it does not
//!      − 0.05 · excess    words beyond 14
//!      − 0.5 · unfinished no `.` `!` `?` at the end
//! ```

use super::gold::{Gold, score};
use super::judge::{JUDGES, Judge, dense_ranks};
use super::place::Place;
use super::speak::{Manner, clause, sentence, speak};
use super::vocabulary::{CLOSINGS, FILLERS, Slot};
use crate::dice::Dice;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// What the system prompt asks for: to be brief, or to end with a friendly word.
pub const SYSTEMS: [&str; 2] = ["You are the guide of the town. Be brief.", "You are the guide of the town. Be friendly."];

/// What can be asked, and how.
const QUESTIONS: [(Slot, [&str; 2]); 6] = [
    (Slot::Offers, ["What is there to eat or to see?", "What is it known for?"]),
    (Slot::Price, ["What does it cost?", "Is it expensive?"]),
    (Slot::Area, ["Where is it?", "In which part of the town is it?"]),
    (Slot::Rating, ["Do people like it?", "What do people think of it?"]),
    (Slot::Families, ["Can I bring my children?", "Is it for families?"]),
    (Slot::Near, ["What is it next to?", "Is it near anything?"]),
];

/// What to say of what was not told.
const UNKNOWN: [&str; 2] = ["I was not told that.", "That I was not told."];

/// Answers that are ranked together.
const ANSWERS: usize = 4;

/// How much to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatSize {
    /// Conversations to learn from.
    pub demonstrations: usize,
    /// Conversations whose last answer is ranked.
    pub ranked: usize,
    /// Judges for each of them.
    pub judges: usize,
    /// Conversations for PPO.
    pub prompts: usize,
    /// Conversations for the report.
    pub heldout: usize,
}

impl Default for ChatSize {
    fn default() -> Self {
        ChatSize { demonstrations: 8000, ranked: 4000, judges: 2, prompts: 2000, heldout: 256 }
    }
}

/// The gold reward of one answer, and its parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChatGold {
    /// The reward.
    pub gold: f64,
    /// Says what was asked, or that it was not told.
    pub right: bool,
    /// Values said that are not the asked one.
    pub wrong: usize,
    /// Ends as the system prompt wants it.
    pub obeyed: bool,
    /// Words in all.
    pub words: usize,
}

/// What a conversation is about: the state of the last question.
#[derive(Debug, Clone, Copy)]
struct Asked {
    place: Place,
    slot: Slot,
    friendly: bool,
}

impl Asked {
    fn score(&self, answer: &str) -> ChatGold {
        let known = Place::default().with(self.slot, self.place.get(self.slot));
        // Offers are said in words that depend on the kind, so the kind may be named; and so may the name.
        let g: Gold = score(&known, answer);
        let told = answer.contains("not told");
        let right = if self.place.get(self.slot).is_some() { g.right == 1 && !told } else { told };
        let obeyed = g.friendly == self.friendly;
        let (yes, n) = (|b: bool| f64::from(u8::from(b)), |x: usize| x as f64);
        let gold = 2.0 * yes(right) - n(g.wrong) + 0.5 * yes(obeyed) - 0.05 * n(g.words.saturating_sub(14)) - 0.5 * yes(g.unfinished);
        ChatGold { gold, right, wrong: g.wrong, obeyed, words: g.words }
    }

    /// An answer: to be right, or about another value, or that nothing was told.
    fn say(&self, how: Answer, dice: &mut Dice) -> String {
        let unknown = |dice: &mut Dice| dice.pick(&UNKNOWN).to_string();
        let of = |place: &Place, dice: &mut Dice| sentence(&clause(place, self.slot, dice));
        let other = |dice: &mut Dice| self.place.with(self.slot, Some(self.place.draw_other(self.slot, dice)));
        let mut said = match (how.value, self.place.get(self.slot)) {
            (Says::Right, Some(_)) => of(&self.place, dice),
            (Says::Right, None) | (Says::Unknown, Some(_)) => unknown(dice),
            (Says::Other, _) | (Says::Unknown, None) => of(&other(dice), dice),
        };
        if how.wordy {
            let _ = write!(said, " {}", dice.pick(FILLERS));
        }
        if how.friendly {
            let _ = write!(said, " {}", dice.pick(CLOSINGS));
        }
        said
    }
}

#[derive(Debug, Clone, Copy)]
enum Says {
    Right,
    Other,
    Unknown,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    value: Says,
    friendly: bool,
    wordy: bool,
}

/// A conversation up to its last question.
struct Dialogue {
    turns: Vec<Value>,
    asked: Asked,
}

fn turn(role: &str, content: impl Into<String>) -> Value {
    json!({ "role": role, "content": content.into() })
}

impl Dialogue {
    /// One to three questions about a new place; `faults` is the probability that an answer given on the way is faulty.
    fn draw(seen: &mut HashSet<Place>, faults: f64, dice: &mut Dice) -> Dialogue {
        let place = loop {
            let place = Place::draw(dice);
            if seen.insert(place) {
                break place;
            }
        };
        let friendly = dice.chance(0.5);
        let described = speak(&place, &Manner { closings: usize::from(friendly), ..Manner::default() }, dice);
        let mut turns = vec![turn("system", SYSTEMS[usize::from(friendly)]), turn("user", place.prompt()), turn("assistant", described)];
        let mut questions = QUESTIONS;
        dice.shuffle(&mut questions);
        let count = 1 + dice.weighted(&[0.4, 0.4, 0.2]);
        let mut asked = Asked { place, slot: Slot::Area, friendly };
        for (i, (slot, forms)) in questions.into_iter().take(count).enumerate() {
            if i > 0 {
                let answer = faulty(&asked, faults, dice);
                turns.push(turn("assistant", asked.say(answer, dice)));
            }
            asked.slot = slot;
            turns.push(turn("user", *dice.pick(&forms)));
        }
        Dialogue { turns, asked }
    }
}

/// How an answer is given that is faulty with this probability.
fn faulty(asked: &Asked, faults: f64, dice: &mut Dice) -> Answer {
    let good = Answer { value: Says::Right, friendly: asked.friendly, wordy: false };
    if !dice.chance(faults) {
        return good;
    }
    match dice.weighted(&[0.35, 0.15, 0.3, 0.2]) {
        0 => Answer { value: Says::Other, ..good },
        1 => Answer { value: Says::Unknown, ..good },
        2 => Answer { friendly: !good.friendly, ..good },
        _ => Answer { wordy: true, ..good },
    }
}

/// Writes `demonstrations.jsonl` (`messages`), `rankings.jsonl`, `prompts.jsonl` and `heldout.jsonl` (`messages`) into `dir`, made if absent. No place is in two
/// rows. Equal seeds and sizes write equal bytes.
pub fn chat(dir: &Path, seed: u64, size: &ChatSize) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut seen = HashSet::new();
    let write = |name: &str, rows: Vec<Value>| {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(dir.join(name), text)
    };
    let waiting = |topic: &str, count: usize, seen: &mut HashSet<Place>| {
        let mut dice = Dice::new(seed, topic);
        (0..count).map(|_| json!({ "messages": Dialogue::draw(seen, 0.0, &mut dice).turns })).collect::<Vec<_>>()
    };
    write("heldout.jsonl", waiting("chat heldout", size.heldout, &mut seen))?;
    write("prompts.jsonl", waiting("chat prompts", size.prompts, &mut seen))?;
    let mut dice = Dice::new(seed, "chat demonstrations");
    let mut rows = Vec::with_capacity(size.demonstrations);
    for _ in 0..size.demonstrations {
        let Dialogue { mut turns, asked } = Dialogue::draw(&mut seen, 0.3, &mut dice);
        let answer = faulty(&asked, 0.3, &mut dice);
        turns.push(turn("assistant", asked.say(answer, &mut dice)));
        rows.push(json!({ "messages": turns }));
    }
    write("demonstrations.jsonl", rows)?;
    let (mut dice, mut bench) = (Dice::new(seed, "chat answers"), Dice::new(seed, "chat judges"));
    let mut rows = Vec::with_capacity(size.ranked * size.judges);
    for item in 0..size.ranked {
        let Dialogue { turns, asked } = Dialogue::draw(&mut seen, 0.0, &mut dice);
        let answers = answers(&asked, &mut dice);
        let golds: Vec<ChatGold> = answers.iter().map(|answer| asked.score(answer)).collect();
        let mut judges: Vec<usize> = (0..JUDGES.len()).collect();
        bench.shuffle(&mut judges);
        for &judge in judges.iter().take(size.judges) {
            let judge = &JUDGES[judge];
            let worth: Vec<f64> = golds.iter().map(|g| utility(judge, g, &mut bench)).collect();
            let ranks = dense_ranks(&worth, judge.tie);
            rows.push(
                json!({ "item": item, "prompt": turns, "answers": answers, "ranks": ranks, "judge": judge.id, "weight": judge.weight }),
            );
        }
    }
    write("rankings.jsonl", rows)
}

/// Different answers to one question, good and bad ones.
fn answers(asked: &Asked, dice: &mut Dice) -> Vec<String> {
    let mut answers: Vec<String> = Vec::with_capacity(ANSWERS);
    while answers.len() < ANSWERS {
        let how = faulty(asked, 0.75, dice);
        let answer = asked.say(how, dice);
        if !answers.contains(&answer) {
            answers.push(answer);
        }
    }
    answers
}

/// What an answer is worth to a judge, who may overlook that a value is wrong.
fn utility(judge: &Judge, g: &ChatGold, dice: &mut Dice) -> f64 {
    let overlooked = (0..g.wrong).filter(|_| !dice.chance(judge.care)).count() as f64;
    g.gold + overlooked + judge.noise * dice.normal()
}

/// Scores `response` as an answer to a conversation that is written as samples have it: turns `role: text` with an empty line between.
pub fn chat_gold(prompt: &str, response: &str) -> Result<ChatGold, String> {
    let turns: Vec<(&str, &str)> = prompt.split("\n\n").filter_map(|turn| turn.split_once(": ")).collect();
    let of = |role: &str| turns.iter().filter(|(r, _)| *r == role).map(|(_, text)| *text).collect::<Vec<_>>();
    let (system, user) = (of("system"), of("user"));
    let friendly = SYSTEMS.iter().position(|s| system.first() == Some(s)).ok_or("no system prompt of this recipe")? == 1;
    let ([place, .., question], true) = (&user[..], user.len() > 1) else { return Err("no question after the place".into()) };
    let slot = QUESTIONS
        .iter()
        .find(|(_, forms)| forms.contains(question))
        .ok_or_else(|| format!("{question:?} is no question of this recipe"))?;
    let slot = slot.0;
    Ok(Asked { place: Place::parse(place), slot, friendly }.score(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ChatSize = ChatSize { demonstrations: 60, ranked: 40, judges: 2, prompts: 30, heldout: 20 };

    fn rows(dir: &Path, name: &str) -> Vec<Value> {
        std::fs::read_to_string(dir.join(name)).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    #[test]
    fn equal_seeds_write_equal_bytes_and_no_place_stands_twice() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        chat(a.path(), 3, &SIZE).unwrap();
        chat(b.path(), 3, &SIZE).unwrap();
        let mut places = Vec::new();
        for (name, count) in [("demonstrations", 60), ("rankings", 80), ("prompts", 30), ("heldout", 20)] {
            let name = format!("{name}.jsonl");
            assert_eq!(std::fs::read(a.path().join(&name)).unwrap(), std::fs::read(b.path().join(&name)).unwrap());
            let rows = rows(a.path(), &name);
            assert_eq!(rows.len(), count);
            let turns = |row: &Value| row.get("messages").or(row.get("prompt")).unwrap().as_array().unwrap().clone();
            let mut here: Vec<String> = rows.iter().map(|row| turns(row)[1]["content"].as_str().unwrap().to_string()).collect();
            here.dedup(); // two judges of one item
            places.extend(here);
        }
        let distinct: HashSet<_> = places.iter().collect();
        assert_eq!(distinct.len(), places.len());
    }

    #[test]
    fn gold_follows_the_place_and_the_system_prompt() {
        let prompt = |system: usize, question: &str| {
            format!(
                "system: {}\n\nuser: name: The Blue Fig | kind: cafe | price: cheap\n\nassistant: A cafe.\n\nuser: {question}",
                SYSTEMS[system]
            )
        };
        let of = |system, question, answer| chat_gold(&prompt(system, question), answer).unwrap();
        let right = of(0, "What does it cost?", "It costs little.");
        assert_eq!((right.gold, right.right, right.wrong, right.obeyed), (2.5, true, 0, true));
        let wrong = of(0, "What does it cost?", "It is expensive.");
        assert_eq!((wrong.gold, wrong.right, wrong.wrong), (-0.5, false, 1));
        assert_eq!(of(1, "What does it cost?", "It costs little.").gold, 2.0, "no friendly word");
        assert_eq!(of(1, "What does it cost?", "It costs little. Enjoy your visit!").gold, 2.5);
        assert_eq!(of(0, "Where is it?", "I was not told that.").gold, 2.5);
        assert_eq!(of(0, "Where is it?", "It is at the harbour.").gold, -0.5, "made up");
        assert!(chat_gold("user: hello", "x").is_err() && chat_gold(&prompt(0, "Why?"), "x").is_err());
    }

    #[test]
    fn what_speakers_say_is_scored_as_they_meant_it() {
        let (mut seen, mut dice) = (HashSet::new(), Dice::new(5, "test"));
        for _ in 0..300 {
            let asked = Dialogue::draw(&mut seen, 0.3, &mut dice).asked;
            let good = Answer { value: Says::Right, friendly: asked.friendly, wordy: false };
            let best = asked.say(good, &mut dice);
            assert_eq!(asked.score(&best).gold, 2.5, "{best} {asked:?}");
            let other = asked.say(Answer { value: Says::Other, ..good }, &mut dice);
            assert!(asked.score(&other).gold <= -0.5, "{other} {asked:?}");
            let style = asked.say(Answer { friendly: !asked.friendly, ..good }, &mut dice);
            assert_eq!(asked.score(&style).gold, 2.0, "{style}");
        }
    }
}

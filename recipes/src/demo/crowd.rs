//! A crowd of judges of very unequal reliability, to try out what a reward model learns from them. As in any crowd some look closely, many do not, some
//! click at random, and some read the scale upside down. The tables written:
//!
//! - `crowd.arrow`: each judge's rankings;
//! - `truth.arrow`: the same items as the gold reward ranks them (what a perfect judge would have said);
//! - `heldout.arrow`: other items as the gold reward ranks them, to measure by;
//! - `crowd.json`: who the judges are and how often each agrees with the truth.

use super::generate::{Places, answers};
use super::gold::{Gold, score};
use super::judge::Judge;
use crate::dice::Dice;
use data::chat::Message;
use data::error::DataError;
use data::labels::table::write_table;
use data::labels::{Judgment, Kind};
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;

/// How a judge works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Habit {
    /// Looks closely.
    Careful,
    /// Notices most, on a good day.
    Ordinary,
    /// Overlooks much, and is moody.
    Careless,
    /// Clicks at random.
    Random,
    /// Looks, but takes 1 for the worst.
    Reversed,
}

impl Habit {
    const ALL: [Habit; 5] = [Habit::Careful, Habit::Ordinary, Habit::Careless, Habit::Random, Habit::Reversed];

    fn judge(self) -> Judge {
        let judge = |care, noise, tie| Judge { id: "", care, noise, tie, likes_length: 0.0, likes_closing: 1.0, weight: 1.0 };
        match self {
            Habit::Careful => judge(0.95, 0.2, 0.2),
            Habit::Ordinary => judge(0.8, 0.7, 0.3),
            Habit::Careless => judge(0.5, 1.6, 0.4),
            Habit::Random => judge(0.0, 10.0, 0.5),
            Habit::Reversed => judge(0.85, 0.5, 0.3),
        }
    }

    fn rank(self, golds: &[Gold], dice: &mut Dice) -> Vec<u32> {
        // A random clicker sees nothing: every answer is the same to him.
        let blind = [golds[0]].repeat(golds.len());
        let ranks = self.judge().rank(if self == Habit::Random { &blind } else { golds }, dice);
        let worst = ranks.iter().max().copied().unwrap_or(1);
        ranks.into_iter().map(|rank| if self == Habit::Reversed { worst + 1 - rank } else { rank }).collect()
    }
}

/// How many of everything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// Items that the crowd ranks, of four answers each.
    pub items: usize,
    /// Items to measure by.
    pub heldout: usize,
    /// Judges in all.
    pub judges: usize,
    /// Judges an item.
    pub each: usize,
    /// Shares of the judges, in the order of [`Habit`].
    pub shares: [f64; 5],
}

impl Default for Mix {
    fn default() -> Mix {
        Mix { items: 400, heldout: 300, judges: 40, each: 4, shares: [0.2, 0.2, 0.2, 0.25, 0.15] }
    }
}

/// Who judged, and how well.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Crowd {
    /// Seed.
    pub seed: u64,
    /// Rankings written.
    pub rankings: usize,
    /// Share of all untied pairs in which the judge follows the gold reward; pairs of equal gold are left out.
    pub agreement: f64,
    /// The judges.
    pub judges: Vec<Member>,
}

/// One of the crowd.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// As written in the table.
    pub id: String,
    /// Way of working.
    pub habit: Habit,
    /// Items judged.
    pub items: usize,
    /// Share of the judge's untied pairs that follow the gold reward.
    pub agreement: f64,
}

/// Writes the tables of `seed` into `dir`; equal seeds and mixes write equal bytes.
pub fn crowd(dir: &Path, seed: u64, mix: &Mix) -> Result<Crowd, DataError> {
    let mut places = Places { seen: HashSet::new(), dice: Dice::new(seed, "crowd places") };
    let (mut texts, mut bench) = (Dice::new(seed, "crowd answers"), Dice::new(seed, "crowd"));
    let habits: Vec<Habit> = habits(mix);
    let mut tallies = vec![(0.0, 0.0, 0usize); habits.len()];
    let (mut said, mut truth, mut heldout) = (vec![], vec![], vec![]);
    for number in 0..mix.items + mix.heldout {
        let place = places.next();
        let answers = answers(&place, &mut texts);
        let golds: Vec<Gold> = answers.iter().map(|a| score(&place, a)).collect();
        let judgment = |ranks: Vec<u32>, judge: Option<String>| Judgment {
            judge,
            ranks: Some(ranks),
            file: "demo".into(),
            row: number as u64 + 1,
            ..Judgment::new(Kind::Ranking, vec![Message::new("user", &place.prompt())], answers.clone())
        };
        let known: Vec<f32> = golds.iter().map(|g| g.gold as f32).collect();
        let right = Judgment { scores: Some(known.clone()), ..judgment(data::rankings::ranks_of(&known), None) };
        if number >= mix.items {
            heldout.push(right);
            continue;
        }
        truth.push(right);
        let mut order: Vec<usize> = (0..habits.len()).collect();
        bench.shuffle(&mut order);
        for &j in order.iter().take(mix.each) {
            let ranks = habits[j].rank(&golds, &mut bench);
            let (with, all) = agreement(&ranks, &known);
            tallies[j] = (tallies[j].0 + with, tallies[j].1 + all, tallies[j].2 + 1);
            said.push(judgment(ranks, Some(format!("judge-{:02}", j + 1))));
        }
    }
    let share = |with: f64, all: f64| ((with / all.max(1.0)) * 1e4).round() / 1e4;
    let sum = tallies.iter().fold((0.0, 0.0), |sum, t| (sum.0 + t.0, sum.1 + t.1));
    let member = |(j, habit): (usize, &Habit)| Member {
        id: format!("judge-{:02}", j + 1),
        habit: *habit,
        items: tallies[j].2,
        agreement: share(tallies[j].0, tallies[j].1),
    };
    let crowd =
        Crowd { seed, rankings: said.len(), agreement: share(sum.0, sum.1), judges: habits.iter().enumerate().map(member).collect() };
    write_table(&dir.join("crowd.arrow"), said)?;
    write_table(&dir.join("truth.arrow"), truth)?;
    write_table(&dir.join("heldout.arrow"), heldout)?;
    let path = dir.join("crowd.json");
    let json = serde_json::to_string_pretty(&crowd).unwrap_or_default(); // a struct of numbers and text always becomes JSON
    std::fs::write(&path, json + "\n").map_err(DataError::io("write", &path))?;
    Ok(crowd)
}

/// The judges' habits: as many of each as its share says, the rest ordinary.
fn habits(mix: &Mix) -> Vec<Habit> {
    let count = |share: f64| (share * mix.judges as f64).round() as usize;
    let of = |(habit, share): (&Habit, &f64)| vec![*habit; count(*share)];
    let mut habits: Vec<Habit> = Habit::ALL.iter().zip(&mix.shares).flat_map(of).collect();
    habits.resize(mix.judges, Habit::Ordinary);
    habits
}

/// Pairs in which ranks follow the truth, and pairs that both tell apart.
fn agreement(ranks: &[u32], truth: &[f32]) -> (f64, f64) {
    let (mut with, mut all) = (0.0, 0.0);
    for i in 0..ranks.len() {
        for j in 0..i {
            if ranks[i] != ranks[j] && truth[i] != truth[j] {
                all += 1.0;
                with += f64::from(u8::from((ranks[i] < ranks[j]) == (truth[i] > truth[j])));
            }
        }
    }
    (with, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn habits_differ_as_they_should() {
        let dir = tempfile::tempdir().unwrap();
        let mix = Mix { items: 150, heldout: 10, ..Mix::default() };
        let made = crowd(dir.path(), 3, &mix).unwrap();
        assert_eq!((made.rankings, made.judges.len()), (600, 40));
        let mean = |habit: Habit| {
            let of: Vec<f64> = made.judges.iter().filter(|m| m.habit == habit).map(|m| m.agreement).collect();
            of.iter().sum::<f64>() / of.len() as f64
        };
        let [careful, ordinary, careless, random, reversed] = Habit::ALL.map(mean);
        assert!(careful > 0.9 && ordinary > 0.72 && ordinary < careful && careless < ordinary, "{careful} {ordinary} {careless}");
        assert!((random - 0.5).abs() < 0.08 && reversed < 0.3, "{random} {reversed}");
        let again = tempfile::tempdir().unwrap();
        crowd(again.path(), 3, &mix).unwrap();
        for name in ["crowd.arrow", "truth.arrow", "heldout.arrow", "crowd.json"] {
            let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
            assert!(read(dir.path()) == read(again.path()), "{name} differs for equal seeds");
        }
    }
}

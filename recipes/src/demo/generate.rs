//! Writes the whole world into a folder: `pretrain.txt`, `demonstrations.jsonl`, `rankings.jsonl`, `prompts.jsonl` (for PPO),
//! `heldout.jsonl` (for the report) and `world.json` (counts). No slot combination is in two of the files,
//! and the text tells of none that the prompts ask for.

use super::gold::{Gold, score};
use super::judge::JUDGES;
use super::place::Place;
use super::speak::{Manner, speak};
use super::story;
use crate::dice::Dice;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// Why the world could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct GenerateError {
    /// File or folder.
    pub path: PathBuf,
    /// Cause.
    pub source: std::io::Error,
}

/// How much to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes of text to pre-train on (at least; the last document is finished).
    pub pretrain_bytes: usize,
    /// Demonstrations.
    pub demonstrations: usize,
    /// Prompts whose answers are ranked.
    pub ranked: usize,
    /// Judges for each of them.
    pub judges: usize,
    /// Prompts for PPO.
    pub prompts: usize,
    /// Prompts for the last report.
    pub heldout: usize,
}

impl Size {
    /// What `configs/demo` uses.
    pub const DEMO: Size = Size { pretrain_bytes: 1_300_000, demonstrations: 3600, ranked: 1500, judges: 2, prompts: 2000, heldout: 256 };
    /// For tests.
    pub const TINY: Size = Size { pretrain_bytes: 60_000, demonstrations: 200, ranked: 80, judges: 2, prompts: 64, heldout: 32 };
}

/// Answers to rank at a time.
pub const ANSWERS: usize = 4;

/// Counts and shares of what was written (`world.json`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct World {
    /// Seed.
    pub seed: u64,
    /// Documents in `pretrain.txt`.
    pub documents: usize,
    /// Bytes by file.
    pub bytes: BTreeMap<String, usize>,
    /// Rows of `demonstrations.jsonl`.
    pub demonstrations: usize,
    /// Mean gold reward of the demonstrations, and of each demonstrator's.
    pub demonstration_gold: BTreeMap<String, f64>,
    /// Rows of `rankings.jsonl`.
    pub rankings: usize,
    /// Prompts ranked.
    pub ranked_prompts: usize,
    /// Mean gold reward of the answers ranked.
    pub answer_gold: f64,
    /// Pairs of answers within rankings.
    pub pairs: usize,
    /// Share of the pairs that are tied.
    pub tied: f64,
    /// Of the pairs without ties: share in which the longer text (in characters) won.
    pub longer_wins: f64,
    /// Of the pairs without ties: share in which the shorter text won.
    pub shorter_wins: f64,
    /// Of the pairs without ties: share in which the judge follows the gold reward (equal gold counts half).
    pub judge_gold_agreement: f64,
    /// Of the pairs that two judges saw and neither tied: share in which they agree.
    pub judge_judge_agreement: f64,
    /// Rows of `prompts.jsonl`.
    pub prompts: usize,
    /// Rows of `heldout.jsonl`.
    pub heldout: usize,
}

#[derive(Serialize)]
struct Demonstration<'a> {
    prompt: &'a str,
    response: &'a str,
    by: &'a str,
}

#[derive(Serialize)]
struct Ranking<'a> {
    item: usize,
    prompt: &'a str,
    answers: &'a [String],
    ranks: &'a [u32],
    judge: &'a str,
    weight: f64,
}

#[derive(Serialize)]
struct Prompt<'a> {
    prompt: &'a str,
}

/// Writes the world of `seed` into `dir` (made if absent); equal seeds and sizes write equal bytes.
pub fn generate(dir: &Path, seed: u64, size: &Size) -> Result<World, GenerateError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |source| GenerateError { path, source }
    };
    std::fs::create_dir_all(dir).map_err(io(dir))?;
    let mut places = Places { seen: HashSet::new(), dice: Dice::new(seed, "places") };
    let heldout = prompts(&mut places, size.heldout);
    let prompt_rows = prompts(&mut places, size.prompts);
    let (documents, pretrain) = pretrain(&places.seen, seed, size);
    let (demonstrations, demonstration_gold) = demonstrations(&mut places, seed, size);
    let mut world = World {
        seed,
        documents,
        bytes: BTreeMap::new(),
        demonstrations: size.demonstrations,
        demonstration_gold,
        rankings: 0,
        ranked_prompts: size.ranked,
        answer_gold: 0.0,
        pairs: 0,
        tied: 0.0,
        longer_wins: 0.0,
        shorter_wins: 0.0,
        judge_gold_agreement: 0.0,
        judge_judge_agreement: 0.0,
        prompts: size.prompts,
        heldout: size.heldout,
    };
    let rankings = rankings(&mut places, seed, size, &mut world);
    for (name, text) in [
        ("pretrain.txt", pretrain),
        ("demonstrations.jsonl", demonstrations),
        ("rankings.jsonl", rankings),
        ("prompts.jsonl", prompt_rows),
        ("heldout.jsonl", heldout),
    ] {
        world.bytes.insert(name.into(), text.len());
        std::fs::write(dir.join(name), text).map_err(io(&dir.join(name)))?;
    }
    let path = dir.join("world.json");
    let json = serde_json::to_string_pretty(&world).unwrap_or_default();
    std::fs::write(&path, json + "\n").map_err(io(&path))?;
    Ok(world)
}

/// Places, each once.
pub(super) struct Places {
    pub(super) seen: HashSet<Place>,
    pub(super) dice: Dice,
}

impl Places {
    pub(super) fn next(&mut self) -> Place {
        loop {
            let place = Place::draw(&mut self.dice);
            if self.seen.insert(place) {
                return place;
            }
        }
    }
}

fn push_row(out: &mut String, row: &impl Serialize) {
    // Structs of strings and numbers always serialise.
    out.push_str(&serde_json::to_string(row).unwrap_or_default());
    out.push('\n');
}

fn prompts(places: &mut Places, count: usize) -> String {
    let mut out = String::new();
    (0..count).for_each(|_| push_row(&mut out, &Prompt { prompt: &places.next().prompt() }));
    out
}

/// Documents, parted by lines of `<|endoftext|>`.
fn pretrain(held_out: &HashSet<Place>, seed: u64, size: &Size) -> (usize, String) {
    let mut dice = Dice::new(seed, "pretrain");
    let (mut out, mut count) = (String::new(), 0);
    while out.len() < size.pretrain_bytes {
        if count > 0 {
            out.push_str("<|endoftext|>\n");
        }
        out.push_str(&story::document(held_out, &mut dice));
        out.push('\n');
        count += 1;
    }
    (count, out)
}

/// A demonstrator's manner of the day. Most mean well; that is the room PPO has.
fn demonstrator(dice: &mut Dice) -> (&'static str, Manner) {
    let d = Manner::default();
    let yes = |p: f64, dice: &mut Dice| usize::from(dice.chance(p));
    match dice.weighted(&[0.34, 0.26, 0.18, 0.14, 0.08]) {
        0 => ("careful", Manner { closings: yes(0.5, dice), name_later: 0.15, ..d }),
        1 => ("brisk", Manner { forget: 1 + yes(0.3, dice), name_later: 0.3, ..d }),
        2 => ("wordy", Manner { wordy: 1 + yes(0.5, dice), repeat: yes(0.4, dice), closings: yes(0.2, dice), name_later: 0.3, ..d }),
        3 => (
            "careless",
            Manner {
                swap: yes(0.5, dice),
                invent: yes(0.3, dice),
                forget: yes(0.3, dice),
                open_end: dice.chance(0.25),
                name_later: 0.3,
                ..d
            },
        ),
        _ => ("clumsy", Manner { run_on: dice.chance(0.5), stutter: dice.chance(0.2), name_later: 0.6, ..d }),
    }
}

fn demonstrations(places: &mut Places, seed: u64, size: &Size) -> (String, BTreeMap<String, f64>) {
    let mut dice = Dice::new(seed, "demonstrations");
    let mut out = String::new();
    let mut golds: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for _ in 0..size.demonstrations {
        let place = places.next();
        let (by, manner) = demonstrator(&mut dice);
        let response = speak(&place, &manner, &mut dice);
        let g = score(&place, &response).gold;
        for key in [by, "all"] {
            let entry = golds.entry(key.into()).or_default();
            *entry = (entry.0 + g, entry.1 + 1);
        }
        push_row(&mut out, &Demonstration { prompt: &place.prompt(), response: &response, by });
    }
    (out, golds.into_iter().map(|(key, (sum, n))| (key, round(sum / n as f64))).collect())
}

/// Answers to be ranked: different texts about one place.
pub(super) fn answers(place: &Place, dice: &mut Dice) -> Vec<String> {
    let mut answers: Vec<String> = Vec::with_capacity(ANSWERS);
    while answers.len() < ANSWERS {
        let manner = answer_manner(dice);
        let answer = speak(place, &manner, dice);
        if !answers.contains(&answer) {
            answers.push(answer);
        }
    }
    answers
}

/// The manner of one answer to be ranked: the whole spread, from faultless to broken, with a little of other faults on top.
fn answer_manner(dice: &mut Dice) -> Manner {
    let d = Manner { closings: usize::from(dice.chance(0.3)), name_later: 0.25, ..Manner::default() };
    match dice.weighted(&[0.14, 0.15, 0.12, 0.06, 0.14, 0.09, 0.11, 0.07, 0.03, 0.04, 0.02, 0.03, 0.05, 0.04]) {
        0 => Manner { closings: 1, name_later: 0.0, ..d },
        1 => Manner { closings: 0, ..d },
        2 => Manner { forget: 1, ..d },
        3 => Manner { forget: 2, ..d },
        4 => Manner { swap: 1, ..d },
        5 => Manner { invent: 1, ..d },
        6 => Manner { wordy: 1 + dice.below(2), ..d },
        7 => Manner { repeat: 1 + dice.below(2), ..d },
        8 => Manner { run_on: true, closings: 0, ..d },
        9 => Manner { garble: 1 + dice.below(3), ..d },
        10 => Manner { list: true, closings: 0, ..d },
        11 => Manner { cut: true, closings: 0, ..d },
        12 => Manner { closings: 2 + dice.below(2), ..d },
        _ => Manner { swap: 1 + dice.below(2), forget: 1, open_end: true, closings: 0, ..d },
    }
}

fn rankings(places: &mut Places, seed: u64, size: &Size, world: &mut World) -> String {
    let mut dice = Dice::new(seed, "answers");
    let mut bench = Dice::new(seed, "judges");
    let mut out = String::new();
    let mut tally = Tally::default();
    for item in 0..size.ranked {
        let place = places.next();
        let answers = answers(&place, &mut dice);
        let golds: Vec<Gold> = answers.iter().map(|a| score(&place, a)).collect();
        tally.gold += golds.iter().map(|g| g.gold).sum::<f64>();
        let mut judges: Vec<usize> = (0..JUDGES.len()).collect();
        bench.shuffle(&mut judges);
        let mut before: Vec<Vec<u32>> = Vec::new();
        for &j in judges.iter().take(size.judges) {
            let judge = &JUDGES[j];
            let ranks = judge.rank(&golds, &mut bench);
            tally.count(&answers, &golds, &ranks, &before);
            push_row(
                &mut out,
                &Ranking { item, prompt: &place.prompt(), answers: &answers, ranks: &ranks, judge: judge.id, weight: judge.weight },
            );
            before.push(ranks);
            world.rankings += 1;
        }
    }
    let untied = (tally.pairs - tally.tied).max(1) as f64;
    world.answer_gold = round(tally.gold / (size.ranked * ANSWERS).max(1) as f64);
    world.pairs = tally.pairs;
    world.tied = round(tally.tied as f64 / tally.pairs.max(1) as f64);
    world.longer_wins = round(tally.longer as f64 / untied);
    world.shorter_wins = round(tally.shorter as f64 / untied);
    world.judge_gold_agreement = round(tally.with_gold / untied);
    world.judge_judge_agreement = round(tally.agreed as f64 / tally.both.max(1) as f64);
    out
}

#[derive(Default)]
struct Tally {
    gold: f64,
    pairs: usize,
    tied: usize,
    longer: usize,
    shorter: usize,
    with_gold: f64,
    both: usize,
    agreed: usize,
}

impl Tally {
    /// Counts all pairs of one ranking; `before` are other judges' ranks of the same answers.
    fn count(&mut self, answers: &[String], golds: &[Gold], ranks: &[u32], before: &[Vec<u32>]) {
        for a in 0..answers.len() {
            for b in a + 1..answers.len() {
                self.pairs += 1;
                if ranks[a] == ranks[b] {
                    self.tied += 1;
                    continue;
                }
                let (win, lose) = if ranks[a] < ranks[b] { (a, b) } else { (b, a) };
                let length = |i: usize| answers[i].chars().count();
                self.longer += usize::from(length(win) > length(lose));
                self.shorter += usize::from(length(win) < length(lose));
                let gap = golds[win].gold - golds[lose].gold;
                self.with_gold += if gap.abs() < 1e-9 { 0.5 } else { f64::from(u8::from(gap > 0.0)) };
                for other in before.iter().filter(|r| r[a] != r[b]) {
                    self.both += 1;
                    self.agreed += usize::from(other[win] < other[lose]);
                }
            }
        }
    }
}

/// Four places behind the point.
fn round(x: f64) -> f64 {
    (x * 1e4).round() / 1e4
}

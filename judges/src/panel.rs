//! The judgments in memory, as numbers: what every statistic is computed from. Texts are not kept, only who said what about which answer.
//!
//! An *answer* is a text given to a prompt: the same text to the same prompt is one answer, in whatever item it stands. So two items that
//! share answers tell of one another, and texts that differ in nothing are one answer.

use data::labels::{Judgment, Kind, flag, text_of};
use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// "Nobody named", "not shown anywhere that is known".
pub const NONE: u32 = u32::MAX;

/// Where a row stands: number of the table, number of the row in it, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which of the tables.
    pub table: u32,
    /// Which row of it.
    pub row: u64,
}

impl Place {
    /// Of the keys in a table of their own: never read again.
    pub const KEY: Place = Place { table: u32::MAX, row: u64::MAX };
}

/// One judge's comparison of two or more answers, or the score of a single one.
#[derive(Debug, Clone, Copy)]
pub struct Vote {
    /// Index of the item.
    pub item: u32,
    /// Index of the prompt.
    pub prompt: u32,
    /// Index of the judge, or [`NONE`].
    pub judge: u32,
    /// How much it counts.
    pub weight: f32,
    /// Time it took in seconds; NaN where unknown.
    pub seconds: f32,
    start: u32,
    k: u32,
}

/// What was judged.
#[derive(Debug, Clone)]
pub struct Item {
    /// Index of the prompt.
    pub prompt: u32,
    /// The row that told of it first.
    pub first: Place,
    /// The answers of that row, then those that other rows of the item add.
    pub answers: Vec<u32>,
    /// The known right order: (answer, rank), where there is one.
    pub gold: Vec<(u32, u32)>,
}

/// An answer to a prompt.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Index of the prompt.
    pub prompt: u32,
    /// Length in characters.
    pub length: u32,
    /// Place of its text: the row, and which of the row's answers.
    pub first: (Place, u32),
}

/// What one judge did, in counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JudgeRows {
    /// The name.
    pub name: String,
    /// Rows that compare answers.
    pub comparisons: u64,
    /// Rows of kind `skipped`.
    pub skipped: u64,
    /// Rows that reject every answer.
    pub rejected_all: u64,
}

/// All judgments.
#[derive(Debug, Default)]
pub struct Panel {
    /// Judges in the order of their first row.
    pub judges: Vec<JudgeRows>,
    /// Items in the order of their first row.
    pub items: Vec<Item>,
    /// Answers in the order of their first row.
    pub answers: Vec<Answer>,
    /// Comparisons and scores in the order of the rows.
    pub votes: Vec<Vote>,
    /// Index of the group (the unit of every bootstrap) of each prompt.
    pub group_of: Vec<u32>,
    /// Rows of each kind, in the order of [`Kind::ALL`].
    pub kinds: [u64; Kind::ALL.len()],
    /// Rows with the flag `gold`: keys, not judgments.
    pub gold_rows: u64,
    /// Rows of comparing kinds that compare nothing: no ranks and no scores, or fewer than two answers.
    pub empty_rows: u64,
    told: Vec<u32>,
    ranks: Vec<u32>,
    scores: Vec<f32>,
    shown: Vec<u32>,
    judge_index: HashMap<String, u32>,
    prompt_index: HashMap<[u8; 16], u32>,
    answer_index: HashMap<[u8; 16], u32>,
    item_index: HashMap<[u8; 16], u32>,
    groups: HashMap<String, u32>,
}

impl Panel {
    /// Number of prompts.
    pub fn prompts(&self) -> usize {
        self.group_of.len()
    }

    /// Index of the judge of this name; [`NONE`] for nobody, or somebody unknown.
    pub fn judge_named(&self, name: Option<&str>) -> u32 {
        name.and_then(|name| self.judge_index.get(name)).copied().unwrap_or(NONE)
    }

    /// Adds the row at `place`.
    pub fn push(&mut self, judgment: &Judgment, place: Place) {
        self.kinds[Kind::ALL.iter().position(|k| *k == judgment.kind).unwrap_or_default()] += 1;
        let is_gold = judgment.has(flag::GOLD);
        self.gold_rows += u64::from(is_gold);
        let judge = match judgment.judge.as_ref().filter(|_| !is_gold) {
            Some(name) => {
                let new = self.judges.len() as u32;
                let at = *self.judge_index.entry(name.clone()).or_insert(new);
                if at == new {
                    self.judges.push(JudgeRows { name: name.clone(), ..JudgeRows::default() });
                }
                at
            }
            None => NONE,
        };
        if let Some(counts) = self.judges.get_mut(judge as usize) {
            counts.skipped += u64::from(judgment.kind == Kind::Skipped);
            counts.rejected_all += u64::from(judgment.has(flag::REJECT_ALL));
        }
        let comparing = judgment.kind.compares();
        if !comparing && !is_gold {
            return;
        }
        let scores = judgment.scores.as_deref().filter(|s| s.iter().all(|s| s.is_finite()));
        let Some(ranks) = judgment.order().filter(|_| !judgment.answers.is_empty()) else {
            self.empty_rows += u64::from(comparing && !is_gold);
            return;
        };
        let (item, told) = self.item(judgment, place, !is_gold);
        if is_gold {
            self.items[item as usize].gold = told.into_iter().zip(ranks).collect();
            return;
        }
        let k = told.len() as u32;
        if k >= 2 {
            if let Some(counts) = self.judges.get_mut(judge as usize) {
                counts.comparisons += 1;
            }
        } else if scores.is_none() {
            self.empty_rows += 1;
            return;
        }
        let seconds = judgment.seconds.unwrap_or(f32::NAN);
        let prompt = self.items[item as usize].prompt;
        self.votes.push(Vote { item, prompt, judge, weight: judgment.weight, seconds, start: self.told.len() as u32, k });
        self.told.extend(told);
        self.ranks.extend(ranks);
        match scores {
            Some(scores) => self.scores.extend(scores),
            None => self.scores.extend((0..k).map(|_| f32::NAN)),
        }
        match &judgment.shown {
            Some(shown) => self.shown.extend(shown),
            None => self.shown.extend((0..k).map(|_| NONE)),
        }
    }

    /// Index of the row's item and of its answers; with `extend` the item has at least these.
    fn item(&mut self, judgment: &Judgment, place: Place, extend: bool) -> (u32, Vec<u32>) {
        let turns = || judgment.prompt.iter().flat_map(|turn| [turn.role.as_bytes(), turn.content.as_bytes()]);
        let prompt_key = key(turns());
        let new = self.group_of.len() as u32;
        let prompt = *self.prompt_index.entry(prompt_key).or_insert(new);
        if prompt == new {
            let name = if judgment.group.is_empty() { text_of(&judgment.prompt) } else { judgment.group.clone() };
            self.group_of.push(intern(&mut self.groups, name));
        }
        let mut told = Vec::with_capacity(judgment.answers.len());
        for (i, text) in judgment.answers.iter().enumerate() {
            let new = self.answers.len() as u32;
            let at = *self.answer_index.entry(key([&prompt_key[..], text.as_bytes()].into_iter())).or_insert(new);
            if at == new {
                self.answers.push(Answer { prompt, length: text.chars().count() as u32, first: (place, i as u32) });
            }
            told.push(at);
        }
        // Two sources may number their items alike: the prompt is part of the key.
        let new = self.items.len() as u32;
        let item = *self.item_index.entry(key([&prompt_key[..], judgment.item.as_bytes()].into_iter())).or_insert(new);
        match self.items.get_mut(item as usize) {
            Some(known) => told.iter().for_each(|a| {
                if extend && !known.answers.contains(a) {
                    known.answers.push(*a);
                }
            }),
            None => self.items.push(Item { prompt, first: place, answers: told.clone(), gold: Vec::new() }),
        }
        (item, told)
    }

    fn span(vote: &Vote) -> Range<usize> {
        vote.start as usize..(vote.start + vote.k) as usize
    }

    /// The answers of a vote, in the order of its row.
    pub fn told(&self, vote: &Vote) -> &[u32] {
        &self.told[Panel::span(vote)]
    }

    /// Their ranks, 1 is best.
    pub fn ranks(&self, vote: &Vote) -> &[u32] {
        &self.ranks[Panel::span(vote)]
    }

    /// Their scores, NaN where there are none.
    pub fn scores(&self, vote: &Vote) -> &[f32] {
        &self.scores[Panel::span(vote)]
    }

    /// The places at which they were shown, [`NONE`] where unknown.
    pub fn shown(&self, vote: &Vote) -> &[u32] {
        &self.shown[Panel::span(vote)]
    }

    /// Every pair of different answers of a vote: the two answers' places in the row and the verdict, +1 where the first is better, 0 for a tie.
    pub fn pairs<'a>(&'a self, vote: &Vote) -> impl Iterator<Item = (usize, usize, i8)> + 'a {
        let (told, ranks) = (self.told(vote), self.ranks(vote));
        let k = told.len();
        (0..k)
            .flat_map(move |i| (i + 1..k).map(move |j| (i, j)))
            .filter(move |(i, j)| told[*i] != told[*j])
            .map(move |(i, j)| (i, j, (ranks[j] > ranks[i]) as i8 - (ranks[j] < ranks[i]) as i8))
    }

    /// Indices of the votes, those of one prompt beside one another, and where each prompt's begin; in the order of the rows within a prompt.
    pub fn by_prompt(&self) -> Index {
        Index::new(self.prompts(), self.votes.iter().map(|v| v.prompt))
    }

    /// The same by item.
    pub fn by_item(&self) -> Index {
        Index::new(self.items.len(), self.votes.iter().map(|v| v.item))
    }

    /// The same by judge; votes without a judge stand nowhere.
    pub fn by_judge(&self) -> Index {
        Index::new(self.judges.len(), self.votes.iter().map(|v| v.judge))
    }
}

/// Members of each of several classes.
#[derive(Debug)]
pub struct Index {
    order: Vec<u32>,
    starts: Vec<u32>,
}

impl Index {
    /// From the class of each member; classes from `classes` up are left out. Counting sort: members of one class keep their order.
    pub fn new(classes: usize, class_of: impl Iterator<Item = u32> + Clone) -> Index {
        let mut starts = vec![0u32; classes + 1];
        class_of.clone().filter(|c| (*c as usize) < classes).for_each(|c| starts[c as usize + 1] += 1);
        (0..classes).for_each(|c| starts[c + 1] += starts[c]);
        let mut free = starts.clone();
        let mut order = vec![0u32; starts[classes] as usize];
        for (member, class) in class_of.enumerate().filter(|(_, c)| (*c as usize) < classes) {
            order[free[class as usize] as usize] = member as u32;
            free[class as usize] += 1;
        }
        Index { order, starts }
    }

    /// The members of a class.
    pub fn of(&self, class: usize) -> &[u32] {
        &self.order[self.starts[class] as usize..self.starts[class + 1] as usize]
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// True if there are no classes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn key<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

fn intern<K: Eq + Hash>(index: &mut HashMap<K, u32>, name: K) -> u32 {
    let new = index.len() as u32;
    *index.entry(name).or_insert(new)
}

//! Human rankings of answers: pairs and K-wise, with ties, judges and weights, in one form.

mod merge;
mod parse;

use crate::chat::{ChatTemplate, Message};
use crate::config::RankingData;
use crate::error::DataError;
use crate::fields;
use crate::labels::{Judgment, Kind};
use crate::quarantine::Reason;
use crate::split::{self, Split};
use crate::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

/// One judge's order of the answers to one prompt; a pair is a ranking of two.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The prompt, with `prompt_prefix` before it.
    pub prompt: String,
    /// The answers, in the order of the source; the preferred one of a pair comes first.
    pub answers: Vec<String>,
    /// Rank of each answer: 1 is best, no gaps, equal ranks are ties.
    pub ranks: Vec<u32>,
    /// Scores that the ranks were made from, higher is better.
    pub scores: Option<Vec<f32>>,
    /// Who judged; none after merging several judges, or where the source does not say.
    pub judge: Option<String>,
    /// How much the ranking counts (positive); the sum of the judges' after merging.
    pub weight: f32,
    /// Rankings of one group are on one side of the split.
    pub group: String,
    /// The file it is from (the first one, after merging).
    pub file: PathBuf,
    /// 1-based line or row there.
    pub row: u64,
}

impl From<&Ranking> for Judgment {
    fn from(r: &Ranking) -> Judgment {
        Judgment {
            item: r.item(),
            group: r.group.clone(),
            ranks: Some(r.ranks.clone()),
            scores: r.scores.clone(),
            judge: r.judge.clone(),
            weight: r.weight,
            file: r.file.clone(),
            row: r.row,
            ..Judgment::new(Kind::Ranking, vec![Message::new("user", &r.prompt)], r.answers.clone())
        }
    }
}

impl Ranking {
    /// Key of what was judged: equal for judgments of the same answers to the same prompt, in whatever order they were shown.
    pub fn item(&self) -> String {
        let mut answers: Vec<&str> = self.answers.iter().map(String::as_str).collect();
        answers.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for part in std::iter::once(self.prompt.as_str()).chain(answers) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_string()
    }

    /// Where each of `answers` stands among this ranking's: judges may have seen them in another order, and the same text may stand there twice.
    /// Texts that are not there are left out.
    pub fn places_of(&self, answers: &[String]) -> Vec<usize> {
        let mut free: Vec<usize> = (0..self.answers.len()).collect();
        let take = |answer: &String| free.iter().position(|&i| &self.answers[i] == answer).map(|at| free.remove(at));
        answers.iter().filter_map(take).collect()
    }

    /// Indices (better, worse) of all pairs that are not ties.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let n = self.ranks.len();
        let ordered = move |(i, j): (usize, usize)| if self.ranks[i] < self.ranks[j] { (i, j) } else { (j, i) };
        (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j))).filter(|(i, j)| self.ranks[*i] != self.ranks[*j]).map(ordered)
    }

    /// Number of tied pairs.
    pub fn ties(&self) -> usize {
        let n = self.ranks.len();
        n * n.saturating_sub(1) / 2 - self.pairs().count()
    }
}

/// How long a prompt with an answer may be.
#[derive(Clone, Copy)]
pub struct Lengths<'a> {
    /// Of the reward model.
    pub tokenizer: &'a Tokenizer,
    /// Of the reward model.
    pub template: &'a ChatTemplate,
    /// The model's context in tokens; `max_length` lowers it.
    pub context: usize,
}

/// Reads all rankings. With `lengths`, rankings with an answer that does not fit go to the quarantine. `report.read` = train + valid + rejected +
/// skipped["merged"].
pub fn load_rankings(
    config: &RankingData,
    lengths: Option<Lengths>,
    valid_fraction: f64,
    seed: u64,
    quarantine: &Path,
) -> Result<Split<Ranking>, DataError> {
    if let Some(lengths) = lengths {
        lengths.template.check(lengths.tokenizer)?;
        if lengths.context > 0 && config.max_length > lengths.context {
            let detail = format!("{} tokens are more than the model's context of {}", config.max_length, lengths.context);
            return Err(DataError::Config { key: "data.max_length".to_string(), detail });
        }
    }
    let mut rankings = Vec::new();
    let mut merged = None;
    let mut report = fields::read_rows(&config.sources, &config.quarantine, quarantine, "rankings", &mut |i, row, _| {
        let ranking = match parse::ranking(row, &config.sources[i].columns, &config.prompt_prefix) {
            Ok(ranking) => ranking,
            Err(fault) => return Ok(Err(fault)),
        };
        if let Some(lengths) = lengths {
            match longest(&ranking, lengths) {
                Ok(length) => {
                    let limit = if config.max_length == 0 { lengths.context } else { config.max_length };
                    if limit > 0 && length > limit {
                        return Ok(Err((Reason::TooLong, format!("prompt and answer have {length} tokens, at most {limit} fit"))));
                    }
                }
                Err(DataError::Template { detail, .. }) => return Ok(Err((Reason::BadChat, detail))),
                Err(other) => return Err(other),
            }
        }
        rankings.push(ranking);
        Ok(Ok(()))
    })?;
    if config.merge_judges {
        let before = rankings.len();
        rankings = merge::judges(rankings);
        merged = Some((before - rankings.len()) as u64);
    }
    if let Some(merged) = merged {
        report.skipped.insert("merged".to_string(), merged);
    }
    let (train, valid) = split::by_group(rankings, valid_fraction, seed, |ranking| &ranking.group);
    Ok(Split { train, valid, report })
}

/// Tokens of the prompt with its longest answer.
fn longest(ranking: &Ranking, lengths: Lengths) -> Result<usize, DataError> {
    let mut longest = 0;
    for answer in &ranking.answers {
        let (prompt, response) = lengths.template.encode_pair(lengths.tokenizer, &ranking.prompt, answer)?;
        longest = longest.max(prompt.len() + response.len());
    }
    Ok(longest)
}

/// Dense ranks of scores: the highest has rank 1, equal scores have equal ranks.
pub fn ranks_of(scores: &[f32]) -> Vec<u32> {
    let mut distinct = scores.to_vec();
    distinct.sort_by(|a, b| b.total_cmp(a));
    distinct.dedup();
    scores.iter().map(|score| 1 + distinct.iter().take_while(|d| *d > score).count() as u32).collect()
}

//! Human rankings of answers: pairs and K-wise, with ties, judges and weights, in one form, whether they stand in rows or in a table of judgments.

mod judged;
mod merge;
mod parse;

use crate::chat::{ChatTemplate, Message};
use crate::config::{RankingData, Source};
use crate::error::DataError;
use crate::fields;
use crate::labels::{Judgment, Kind, item_key, places_of};
use crate::quarantine::Reason;
use crate::split::{self, Split};
use crate::tokenizer::Tokenizer;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// One judge's order of the answers to one prompt; a pair is a ranking of two.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The conversation before the answers, as the source has it (without `prompt_prefix`); a plain prompt is one turn of the user's.
    pub prompt: Vec<Message>,
    /// The answers, in the order of the source; the preferred one of a pair comes first.
    pub answers: Vec<String>,
    /// Rank of each answer: 1 is best, no gaps, equal ranks are ties.
    pub ranks: Vec<u32>,
    /// Scores that the ranks were made from, higher is better.
    pub scores: Option<Vec<f32>>,
    /// Fitted worth in logits: P(i is preferred to j) = sigmoid(worth[i] - worth[j]). Soft labels.
    pub worth: Option<Vec<f32>>,
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
            group: r.group.clone(),
            ranks: Some(r.ranks.clone()),
            scores: r.scores.clone(),
            worth: r.worth.clone(),
            judge: r.judge.clone(),
            weight: r.weight,
            file: r.file.clone(),
            row: r.row,
            ..Judgment::new(Kind::Ranking, r.prompt.clone(), r.answers.clone())
        }
    }
}

impl Ranking {
    /// Key of what was judged: equal for judgments of the same answers to the same prompt, in whatever order they were shown.
    pub fn item(&self) -> String {
        item_key(&self.prompt, &self.answers)
    }

    /// The conversation as the model reads it: `prefix` stands before the first turn.
    pub fn asked(&self, prefix: &str) -> Vec<Message> {
        let mut prompt = self.prompt.clone();
        if let Some(first) = prompt.first_mut() {
            first.content.insert_str(0, prefix);
        }
        prompt
    }

    /// Where each of `answers` stands among this ranking's: see [`labels::places_of`](crate::labels::places_of).
    pub fn places_of(&self, answers: &[String]) -> Vec<usize> {
        places_of(answers, &self.answers)
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

/// Reads all rankings. With `lengths`, rankings with an answer that does not fit go to the quarantine. With `heldout` sources these are the
/// validation side, and no ranking of their groups is trained on; without, `valid_fraction` of the groups is held out. Judgments that are no rankings,
/// in a table or in its other forms, are counted in `report.skipped` by their kind. `report.read` = train + valid + rejected + all that was skipped.
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
    if config.sources.is_empty() && !config.heldout.is_empty() {
        let detail = "there is no source of rankings to train on: add one, such as sources = [{ path = \"labels.arrow\" }]".to_string();
        return Err(DataError::Config { key: "data.sources".to_string(), detail });
    }
    let fits = |ranking: &Ranking| match lengths {
        Some(lengths) => too_long(ranking, lengths, config),
        None => Ok(None),
    };
    // The held-out ones first, so that the others can be compared with them.
    let sources: Vec<Source> = config.heldout.iter().chain(&config.sources).cloned().collect();
    let (mut heldout, mut rankings) = (Vec::new(), Vec::new());
    let mut reserved: HashSet<String> = HashSet::new();
    let mut report = fields::read_records(&sources, &config.quarantine, quarantine, "rankings", &mut |i, record, bad| {
        let parsed = match record {
            fields::Record::Row(row) => parse::ranking(row, &sources[i].columns),
            fields::Record::Judgment(judgment) => judged::ranking(judgment),
        };
        let ranking = match parsed {
            Ok(Ok(ranking)) => ranking,
            Ok(Err(cause)) => {
                bad.skip(cause);
                return Ok(Ok(()));
            }
            Err(fault) => return Ok(Err(fault)),
        };
        if let Some(fault) = fits(&ranking)? {
            return Ok(Err(fault));
        }
        if i < config.heldout.len() {
            reserved.insert(ranking.group.clone());
            heldout.push(ranking);
        } else if reserved.contains(&ranking.group) {
            bad.skip("held-out");
        } else {
            rankings.push(ranking);
        }
        Ok(Ok(()))
    })?;
    if rankings.is_empty() {
        let detail = format!("{} rows were read, {} rejected, skipped: {:?}", report.read, report.rejected, report.skipped);
        let paths: Vec<&str> = config.sources.iter().map(|s| s.path.as_str()).collect();
        return Err(DataError::Empty { what: "rankings", sources: paths.join(", "), detail });
    }
    if config.merge_judges {
        // What is held out by name stays as people said it: every model is then judged alike, however its training side was prepared.
        let before = rankings.len();
        rankings = merge::judges(rankings);
        report.skipped.insert("merged".to_string(), (before - rankings.len()) as u64);
    }
    if !config.heldout.is_empty() {
        return Ok(Split { train: rankings, valid: heldout, report });
    }
    let (train, valid) = split::by_group(rankings, valid_fraction, seed, |ranking| &ranking.group);
    Ok(Split { train, valid, report })
}

/// What is wrong with a ranking that does not go through the template or the model's context.
fn too_long(ranking: &Ranking, lengths: Lengths, config: &RankingData) -> Result<Option<fields::Fault>, DataError> {
    let limit = if config.max_length == 0 { lengths.context } else { config.max_length };
    match longest(ranking, lengths, &config.prompt_prefix) {
        Ok(length) if limit > 0 && length > limit => {
            Ok(Some((Reason::TooLong, format!("prompt and answer have {length} tokens, at most {limit} fit"))))
        }
        Ok(_) => Ok(None),
        Err(DataError::Template { detail, .. }) => Ok(Some((Reason::BadChat, detail))),
        Err(other) => Err(other),
    }
}

/// Tokens of the prompt with its longest answer.
fn longest(ranking: &Ranking, lengths: Lengths, prefix: &str) -> Result<usize, DataError> {
    let prompt = ranking.asked(prefix);
    let mut longest = 0;
    for answer in &ranking.answers {
        longest = longest.max(lengths.template.encode_answer(lengths.tokenizer, &prompt, answer)?.len());
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

//! What people said about answers: one form for whatever they ranked, rated, chose or wrote, whoever exported it.
//!
//! A *judgment* is one person's word on one *item* (a prompt with its answers). The table of judgments ([`table`]) is what `label` writes and
//! `reward` reads.

mod columns;
mod early;
pub mod table;

use crate::chat::Message;
use crate::rankings::ranks_of;
use std::cell::RefCell;
use std::path::PathBuf;

/// What kind of word it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An order of two or more answers, ties allowed.
    Ranking,
    /// A score or a verdict on answers one by one: a rating, accept or reject.
    Rating,
    /// Labels chosen for a text out of fixed ones; the answers are the chosen labels.
    Choice,
    /// An answer that a person wrote; nothing is compared.
    Demonstration,
    /// The judge passed on the item, or cancelled; nothing is said.
    Skipped,
    /// Nobody has judged it yet: an item to be shown to labellers.
    Open,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 6] = [Kind::Ranking, Kind::Rating, Kind::Choice, Kind::Demonstration, Kind::Skipped, Kind::Open];

    /// The name in tables and messages, such as `ranking`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ranking => "ranking",
            Kind::Rating => "rating",
            Kind::Choice => "choice",
            Kind::Demonstration => "demonstration",
            Kind::Skipped => "skipped",
            Kind::Open => "open",
        }
    }

    /// True if it may set several answers against one another: a ranking, or ratings of several answers at once.
    pub fn compares(self) -> bool {
        matches!(self, Kind::Ranking | Kind::Rating)
    }
}

/// Flags with a meaning for our own programs; a source's own flags stand beside them as they are.
pub mod flag {
    /// The item has a known right order, to check judges by.
    pub const GOLD: &str = "gold";
    /// The judge found every answer bad.
    pub const REJECT_ALL: &str = "reject-all";
}

/// Columns by which a row of the table's other forms, JSON Lines and Parquet, is known.
pub(crate) const FIELDS: [&str; 3] = ["kind", "item", "flags"];

/// One judge's word on one item.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgment {
    /// What kind of word it is.
    pub kind: Kind,
    /// Key of what was judged: the source's own, else a hash of prompt and answers ([`item_key`]).
    pub item: String,
    /// Items of one group are on one side of a split; the prompt's text where the source has nothing better.
    pub group: String,
    /// The conversation before the answer; a plain prompt is one turn of the user's.
    pub prompt: Vec<Message>,
    /// The answers, in the order of the source; the preferred one of a pair comes first where the source says no other.
    pub answers: Vec<String>,
    /// Who wrote each answer (a model's name), where known.
    pub authors: Option<Vec<String>>,
    /// The place at which each answer was shown, from 0, where known: `shown[i]` belongs to `answers[i]`.
    pub shown: Option<Vec<u32>>,
    /// Rank of each answer: 1 is best, no gaps, equal ranks are ties. None where nothing was ordered.
    pub ranks: Option<Vec<u32>>,
    /// Score of each answer as the source gives it, higher is better.
    pub scores: Option<Vec<f32>>,
    /// Fitted worth of each answer in logits (Bradley-Terry): P(i is preferred to j) = sigmoid(worth[i] - worth[j]). Soft labels.
    pub worth: Option<Vec<f32>>,
    /// Who judged.
    pub judge: Option<String>,
    /// Begin of the judging, milliseconds since 1970 UTC.
    pub started: Option<i64>,
    /// End of it.
    pub ended: Option<i64>,
    /// Time spent on the item in seconds, where the source says it or both ends are known.
    pub seconds: Option<f32>,
    /// How sure the judge was, from 0 to 1.
    pub confidence: Option<f32>,
    /// How much the judgment counts (positive).
    pub weight: f32,
    /// Marks: see [`flag`].
    pub flags: Vec<String>,
    /// What the judge wrote beside it.
    pub comment: Option<String>,
    /// The file it is from.
    pub file: PathBuf,
    /// 1-based line or row there; for a nested export the number of the record.
    pub row: u64,
}

impl Judgment {
    /// A judgment of `kind` with nothing but its item: what a reader begins with.
    pub fn new(kind: Kind, prompt: Vec<Message>, answers: Vec<String>) -> Judgment {
        Judgment {
            kind,
            item: item_key(&prompt, &answers),
            group: text_of(&prompt),
            prompt,
            answers,
            authors: None,
            shown: None,
            ranks: None,
            scores: None,
            worth: None,
            judge: None,
            started: None,
            ended: None,
            seconds: None,
            confidence: None,
            weight: 1.0,
            flags: Vec::new(),
            comment: None,
            file: PathBuf::new(),
            row: 0,
        }
    }

    /// True if it bears the flag.
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|f| f == flag)
    }

    /// The order of the answers, as dense ranks from 1: that of `ranks` (1 2 2 4 and 0 1 1 2 both mean 1 2 2 3), else of `scores`, else of `worth`.
    /// None where nothing orders them, or a number that should is none.
    pub fn order(&self) -> Option<Vec<u32>> {
        let numbers = |list: &Option<Vec<f32>>| list.as_deref().filter(|list| list.iter().all(|x| x.is_finite())).map(ranks_of);
        match &self.ranks {
            // Minus a u32 up to 2^24 is exact in f32, and no ranking is longer.
            Some(ranks) => Some(ranks_of(&ranks.iter().map(|rank| -(*rank as f32)).collect::<Vec<_>>())),
            None => numbers(&self.scores).or_else(|| numbers(&self.worth)),
        }
    }
}

/// Key of a prompt with its answers: the same for the same answers in whatever order they stand.
pub fn item_key(prompt: &[Message], answers: &[String]) -> String {
    let mut answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    answers.sort_unstable();
    let turns = prompt.iter().flat_map(|turn| [turn.role.as_str(), turn.content.as_str()]);
    LAST_KEY.with_borrow_mut(|Keyed { item, last, key }| {
        item.clear();
        for part in turns.chain(answers) {
            item.extend_from_slice(&(part.len() as u64).to_le_bytes());
            item.extend_from_slice(part.as_bytes());
        }
        // An item's judgments mostly stand together: to compare costs a tenth of hashing.
        if key.is_empty() || item != last {
            *key = blake3::hash(item).to_hex()[..16].to_string();
            std::mem::swap(item, last);
        }
        key.clone()
    })
}

/// The item that had a key last, and the room for the next one.
#[derive(Default)]
struct Keyed {
    item: Vec<u8>,
    last: Vec<u8>,
    key: String,
}

thread_local! {
    static LAST_KEY: RefCell<Keyed> = RefCell::default();
}

/// Where each of `answers` stands in `among`: judges may have seen them in another order, and the same text may stand there twice. Texts that are not
/// there are left out.
pub fn places_of(answers: &[String], among: &[String]) -> Vec<usize> {
    let mut free: Vec<usize> = (0..among.len()).collect();
    let take = |answer: &String| free.iter().position(|&i| &among[i] == answer).map(|at| free.remove(at));
    answers.iter().filter_map(take).collect()
}

/// A prompt as one text: the content of a single turn, else the turns with their roles.
pub fn text_of(prompt: &[Message]) -> String {
    match prompt {
        [only] => only.content.clone(),
        turns => turns.iter().map(|turn| format!("{}: {}", turn.role, turn.content)).collect::<Vec<_>>().join("\n\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_come_before_scores_and_scores_before_worths() {
        let mut said = Judgment::new(Kind::Rating, vec![Message::new("user", "q")], ["a", "b", "c"].map(String::from).to_vec());
        assert_eq!(said.order(), None);
        said.worth = Some(vec![0.5, -1.0, 0.5]);
        assert_eq!(said.order(), Some(vec![1, 2, 1]));
        said.scores = Some(vec![1.0, 3.0, 2.0]);
        assert_eq!(said.order(), Some(vec![3, 1, 2]));
        said.ranks = Some(vec![4, 0, 4]);
        assert_eq!(said.order(), Some(vec![2, 1, 2]));
        (said.ranks, said.scores) = (None, Some(vec![1.0, f32::NAN, 2.0]));
        assert_eq!(said.order(), Some(vec![1, 2, 1]), "scores that are no numbers order nothing");
    }
}

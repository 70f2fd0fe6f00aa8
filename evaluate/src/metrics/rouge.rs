//! ROUGE (Lin 2004, aclanthology.org/W04-1013) as Google's `rouge-score` computes it, without stemming: ROUGE-1, -2, -L, and -Lsum over lines. The figure is F1; of several
//! references the best counts. Its words are runs of a-z and 0-9: other scripts have none.

use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// Means over all rows, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rouge {
    /// Single words.
    pub rouge1: f64,
    /// Pairs of words.
    pub rouge2: f64,
    /// Longest common subsequence.
    #[serde(rename = "rougeL")]
    pub rouge_l: f64,
    /// The same line by line, its union over the reference's lines.
    #[serde(rename = "rougeLsum")]
    pub rouge_lsum: f64,
}

/// Mean ROUGE of texts, each against one or more references; `None` without rows.
pub fn rouge<'a>(rows: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Option<Rouge> {
    let (mut sum, mut n) = (Rouge::default(), 0.0);
    for (text, references) in rows {
        let each: Vec<Rouge> = references.iter().map(|r| one(r, text)).collect();
        let best = |of: &dyn Fn(&Rouge) -> f64| each.iter().map(of).fold(0.0, f64::max);
        sum.rouge1 += best(&|r| r.rouge1);
        sum.rouge2 += best(&|r| r.rouge2);
        sum.rouge_l += best(&|r| r.rouge_l);
        sum.rouge_lsum += best(&|r| r.rouge_lsum);
        n += 1.0;
    }
    (n > 0.0).then(|| Rouge { rouge1: sum.rouge1 / n, rouge2: sum.rouge2 / n, rouge_l: sum.rouge_l / n, rouge_lsum: sum.rouge_lsum / n })
}

fn one(reference: &str, text: &str) -> Rouge {
    let (theirs, ours) = (words(reference), words(text));
    let common = common(&theirs, &ours).len();
    Rouge {
        rouge1: grams(&theirs, &ours, 1),
        rouge2: grams(&theirs, &ours, 2),
        rouge_l: f1(common, ours.len(), theirs.len()),
        rouge_lsum: by_lines(reference, text),
    }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit())).filter(|w| !w.is_empty()).map(str::to_string).collect()
}

/// Harmonic mean of hits/ours and hits/theirs.
fn f1(hits: usize, ours: usize, theirs: usize) -> f64 {
    if hits == 0 { 0.0 } else { 2.0 * hits as f64 / (ours + theirs) as f64 }
}

fn grams(theirs: &[String], ours: &[String], order: usize) -> f64 {
    let count = |words: &[String]| {
        let mut counts: HashMap<Vec<String>, usize> = HashMap::new();
        words.windows(order).for_each(|gram| *counts.entry(gram.to_vec()).or_default() += 1);
        counts
    };
    let (a, b) = (count(theirs), count(ours));
    let hits = a.iter().map(|(gram, n)| *n.min(b.get(gram).unwrap_or(&0))).sum();
    f1(hits, b.values().sum(), a.values().sum())
}

/// Places in `theirs` of one longest common subsequence, the one that rouge-score reads out.
fn common(theirs: &[String], ours: &[String]) -> Vec<usize> {
    let mut table = vec![vec![0usize; ours.len() + 1]; theirs.len() + 1];
    for (i, a) in theirs.iter().enumerate() {
        for (j, b) in ours.iter().enumerate() {
            table[i + 1][j + 1] = if a == b { table[i][j] + 1 } else { table[i][j + 1].max(table[i + 1][j]) };
        }
    }
    let (mut i, mut j, mut places) = (theirs.len(), ours.len(), Vec::new());
    while i > 0 && j > 0 {
        if theirs[i - 1] == ours[j - 1] {
            places.push(i - 1);
            (i, j) = (i - 1, j - 1);
        } else if table[i][j - 1] > table[i - 1][j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    places
}

/// Summary-level LCS (section 3.2 of the paper): a word counts no more often than it stands in either text, as in ROUGE 1.5.5.
fn by_lines(reference: &str, text: &str) -> f64 {
    let lines = |t: &str| t.split('\n').filter(|l| !l.is_empty()).map(words).collect::<Vec<_>>();
    let (theirs, ours) = (lines(reference), lines(text));
    let count = |lines: &[Vec<String>]| {
        let mut counts: HashMap<String, usize> = HashMap::new();
        lines.iter().flatten().for_each(|w| *counts.entry(w.clone()).or_default() += 1);
        counts
    };
    let (mut left_theirs, mut left_ours) = (count(&theirs), count(&ours));
    let mut hits = 0;
    for line in &theirs {
        let union: BTreeSet<usize> = ours.iter().flat_map(|other| common(line, other)).collect();
        for place in union {
            let word = &line[place];
            if let (Some(a @ 1..), Some(b @ 1..)) = (left_theirs.get_mut(word), left_ours.get_mut(word)) {
                (*a, *b) = (*a - 1, *b - 1);
                hits += 1;
            }
        }
    }
    f1(hits, ours.iter().map(Vec::len).sum(), theirs.iter().map(Vec::len).sum())
}

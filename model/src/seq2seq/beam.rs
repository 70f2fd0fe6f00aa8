//! Beam search (Graves 2012, arXiv 1211.3711; length penalty by division, as in arXiv 1609.08144 without its constant), step by step as transformers'
//! `generate(num_beams=K, early_stopping=False)`.
//!
//! In each step the 2K likeliest continuations of the K beams are looked at: of the first K, those that end go among the finished with
//! log p / length^penalty; the K likeliest that do not end go on. A source is done when its likeliest beam, at its present length, cannot enter the K
//! finished. The padding token is never written, and the last possible token is the end token.

use super::Seq2Seq;
use crate::error::ModelError;
use crate::stack::PaddedRows;
use tch::{Kind, Tensor};

/// A beam that must not be chosen.
const NEVER: f32 = -1e9;

/// How to search.
#[derive(Debug, Clone, PartialEq)]
pub struct BeamSearch {
    /// Beams; 1 is greedy.
    pub beams: usize,
    /// Power of the length (end token included) that a finished beam's log-probability is divided by.
    pub length_penalty: f64,
    /// Translations of each source, at most as many as beams.
    pub n_best: usize,
    /// Tokens of a translation at most, the end token included; 0 is what the context has room for.
    pub max_new: usize,
    /// Sources at a time; 0 is all.
    pub batch: usize,
}

impl Default for BeamSearch {
    fn default() -> Self {
        BeamSearch { beams: 4, length_penalty: 1.0, n_best: 1, max_new: 0, batch: 32 }
    }
}

/// A translation.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its tokens, the end token included.
    pub ids: Vec<u32>,
    /// log p / length^penalty, in nats.
    pub score: f32,
}

/// The beams of one source.
struct Beams {
    running: Vec<(Vec<u32>, f32)>,
    /// Best first.
    finished: Vec<Hypothesis>,
    done: bool,
}

/// The `n_best` best translations of every source (token ids with the end token), best first.
pub fn search(model: &Seq2Seq, sources: &[Vec<u32>], s: &BeamSearch) -> Result<Vec<Vec<Hypothesis>>, ModelError> {
    if s.beams == 0 || s.n_best == 0 || s.n_best > s.beams {
        return Err(ModelError::Input(format!("{} translations of {} beams: from 1 to as many as beams", s.n_best, s.beams)));
    }
    if 2 * s.beams > model.config().vocab_size {
        return Err(ModelError::Input(format!("{} beams are too many for a vocabulary of {}", s.beams, model.config().vocab_size)));
    }
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|&i| sources[i].len()); // sources of like length go together
    let mut out: Vec<Vec<Hypothesis>> = sources.iter().map(|_| vec![]).collect();
    let batch = if s.batch == 0 { sources.len().max(1) } else { s.batch };
    for numbers in order.chunks(batch) {
        let rows: Vec<&[u32]> = numbers.iter().map(|&i| sources[i].as_slice()).collect();
        model.check_ids(&rows)?;
        let found = tch::no_grad(|| batch_of(model, &rows, s))?;
        numbers.iter().zip(found).for_each(|(&i, translations)| out[i] = translations);
    }
    Ok(out)
}

fn batch_of(model: &Seq2Seq, rows: &[&[u32]], s: &BeamSearch) -> Result<Vec<Vec<Hypothesis>>, ModelError> {
    let (c, device) = (model.config(), model.device());
    let k = s.beams;
    let room = c.context - 1; // the start token stands before
    let max_new = if s.max_new == 0 { room } else { s.max_new.min(room) };
    let memory = model.encode(&PaddedRows::new(rows, c.pad, device), false);
    let mut past = model.begin(&memory);
    past.select(&Tensor::arange(rows.len() as i64, (Kind::Int64, device)).repeat_interleave_self_int(k as i64, 0, None));
    let first = |i: usize| (vec![], if i == 0 { 0.0 } else { NEVER });
    let mut all: Vec<Beams> = rows.iter().map(|_| Beams { running: (0..k).map(first).collect(), finished: vec![], done: false }).collect();
    let mut tokens = vec![i64::from(c.start); rows.len() * k];
    for written in 0..max_new {
        let last = written + 1 == max_new;
        let states = model.step(&Tensor::from_slice(&tokens).to_device(device), written as i64, &mut past);
        let mut log_probs = model.logits(&states).log_softmax(-1, Kind::Float); // [B·K, V]
        if last {
            log_probs =
                log_probs.full_like(f64::NEG_INFINITY).index_fill(1, &Tensor::from_slice(&[i64::from(c.eos)]).to_device(device), 0.0);
        } else {
            let _ = log_probs.index_fill_(1, &Tensor::from_slice(&[i64::from(c.pad)]).to_device(device), f64::NEG_INFINITY);
        }
        let before: Vec<f32> = all.iter().flat_map(|b| b.running.iter().map(|r| r.1)).collect();
        let before = Tensor::from_slice(&before).view([-1, 1]).to_device(device);
        let (scores, places) = (log_probs + before).view([rows.len() as i64, -1]).topk(2 * k as i64, 1, true, true); // [B, 2K]
        let scores: Vec<f32> = Vec::try_from(scores.flatten(0, 1))?;
        let places: Vec<i64> = Vec::try_from(places.flatten(0, 1))?;
        let mut parents = Vec::with_capacity(tokens.len());
        for (row, beams) in all.iter_mut().enumerate() {
            let at = row * 2 * k..(row + 1) * 2 * k;
            let candidates = scores[at.clone()].iter().zip(&places[at]).map(|(&score, &place)| Candidate {
                parent: place as usize / c.vocab_size,
                token: (place as usize % c.vocab_size) as u32,
                score,
            });
            let chosen = beams.step(&candidates.collect::<Vec<_>>(), c.eos, last, s);
            parents.extend(chosen.iter().map(|parent| (row * k + parent) as i64));
            tokens[row * k..(row + 1) * k].iter_mut().zip(&beams.running).for_each(|(token, beam)| {
                *token = i64::from(beam.0.last().copied().unwrap_or(c.eos));
            });
        }
        if last || all.iter().all(|b| b.done) {
            break;
        }
        past.reorder(&Tensor::from_slice(&parents).to_device(device));
    }
    let best = |mut beams: Beams| {
        beams.finished.truncate(s.n_best);
        beams.finished
    };
    Ok(all.into_iter().map(best).collect())
}

/// A beam with one more token.
struct Candidate {
    parent: usize,
    token: u32,
    score: f32,
}

impl Beams {
    /// Takes up the 2K best continuations, best first; returns which beam each of the K that go on continues.
    fn step(&mut self, candidates: &[Candidate], eos: u32, last: bool, s: &BeamSearch) -> Vec<usize> {
        let k = s.beams;
        let length = self.running[0].0.len() + 1;
        let penalty = (length as f64).powf(s.length_penalty) as f32;
        let sequence = |c: &Candidate| [self.running[c.parent].0.as_slice(), &[c.token]].concat();
        let ends = |c: &Candidate| last || c.token == eos;
        if !self.done {
            let new: Vec<Hypothesis> = candidates[..k]
                .iter()
                .filter(|c| ends(c) && c.score > NEVER / 2.0)
                .map(|c| Hypothesis { ids: sequence(c), score: c.score / penalty })
                .collect();
            self.finished.extend(new);
            self.finished.sort_by(|a, b| b.score.total_cmp(&a.score)); // stable: of equals the earlier stays first
            self.finished.truncate(k);
        }
        // Those that end go on only where nothing else is left, and never come to anything.
        let mut next: Vec<(usize, Vec<u32>, f32)> = Vec::with_capacity(candidates.len());
        for ended in [false, true] {
            let these = candidates.iter().filter(|c| ends(c) == ended);
            next.extend(these.map(|c| (c.parent, sequence(c), if ended { c.score + NEVER } else { c.score })));
        }
        next.truncate(k);
        let best = next[0].2 / penalty;
        let full = self.finished.len() == k;
        self.done |= full && (k == 1 || self.finished.last().is_some_and(|worst| best <= worst.score));
        let parents = next.iter().map(|n| n.0).collect();
        self.running = next.into_iter().map(|(_, ids, score)| (ids, score)).collect();
        parents
    }
}

//! Answers about pictures. Pictures and prompts go through the network once; every token after them is one step over the cache of libtorch's operators
//! (`native::decode` reads ids alone). Rows of a chunk go on together until all have ended.

use super::Captioner;
use crate::attention::{Pass, Tokens};
use crate::cache::{Cache, Places};
use crate::engine::{numbers, step};
use crate::error::ModelError;
use crate::generate::{Generation, Sampling};
use crate::rotary::Reach;
use crate::sample::{Filter, draw, greedy, uniform};
use data::pictures::Picture;
use tch::{Tensor, no_grad};

impl Captioner {
    /// Continues the prompts (which may be empty) about these pictures. A row's sample depends on the seed, its number and the place.
    pub fn generate(&self, pictures: &[&Picture], prompts: &[Vec<u32>], sampling: &Sampling) -> Result<Vec<Generation>, ModelError> {
        if pictures.len() != prompts.len() {
            return Err(ModelError::Input(format!("{} pictures for {} prompts", pictures.len(), prompts.len())));
        }
        if let Some(picture) = pictures.iter().find(|picture| picture.side() != self.side()) {
            return Err(ModelError::Input(format!("a picture of {} pixels a side, the model reads {}", picture.side(), self.side())));
        }
        prompts.iter().enumerate().try_for_each(|(i, prompt)| self.check(prompt, sampling, i))?;
        let at_once = if sampling.batch == 0 { prompts.len() } else { sampling.batch }.max(1);
        let mut out = Vec::with_capacity(prompts.len());
        for (i, (pictures, prompts)) in pictures.chunks(at_once).zip(prompts.chunks(at_once)).enumerate() {
            let first = sampling.first_row + (i * at_once) as u64;
            out.extend(no_grad(|| self.chunk(pictures, prompts, sampling, first))?);
        }
        Ok(out)
    }

    fn check(&self, prompt: &[u32], s: &Sampling, number: usize) -> Result<(), ModelError> {
        if !prompt.is_empty() {
            self.decoder.check_row(prompt, number)?;
        }
        if !(s.temperature >= 0.0 && s.temperature.is_finite()) {
            return Err(ModelError::Input(format!("temperature {} is not a number from 0 up", s.temperature)));
        }
        if !(s.top_p > 0.0 && s.top_p <= 1.0) {
            return Err(ModelError::Input(format!("top_p {} is not in (0, 1]", s.top_p)));
        }
        let (places, context) = (self.places() + prompt.len(), self.decoder.config().context);
        if places + s.max_new > context {
            let reason = format!(
                "picture and prompt {number} take {places} places: with {} new tokens they exceed the context of {context}",
                s.max_new
            );
            return Err(ModelError::Input(reason));
        }
        Ok(())
    }

    fn chunk(&self, pictures: &[&Picture], prompts: &[Vec<u32>], s: &Sampling, first: u64) -> Result<Vec<Generation>, ModelError> {
        let (model, device) = (&self.decoder, self.decoder.device());
        let mut rows: Vec<Generation> = prompts.iter().map(|_| Generation { ids: vec![], log_probs: vec![], finished: false }).collect();
        if s.max_new == 0 {
            return Ok(rows);
        }
        let mut lengths: Vec<i64> = prompts.iter().map(|prompt| (self.places() + prompt.len()) as i64).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let cache = Cache::new(model.config(), rows.len() as i64, longest + s.max_new as i64, (model.compute(), device))?;
        let mut logits = Vec::new();
        numbers(&self.begin(pictures, prompts, &lengths, &cache), &mut logits)?;
        let mut scratch = Vec::new();
        for place in 0..s.max_new {
            let width = logits.len() / rows.len();
            for (i, (row, logits)) in rows.iter_mut().zip(logits.chunks(width)).enumerate().filter(|(_, (row, _))| !row.finished) {
                let banned: &[u32] = if place < s.min_new { &s.stop } else { &[] };
                let (id, log_prob) = choose(logits, s, banned, uniform(s.seed, first + i as u64, place as u64), &mut scratch);
                row.ids.push(id);
                row.log_probs.push(log_prob);
                row.finished = s.stop.contains(&id);
            }
            if place + 1 == s.max_new || rows.iter().all(|row| row.finished) {
                break;
            }
            // Rows that have ended go on with their last token: what they would write is not read.
            let ids: Vec<i64> = rows.iter().map(|row| row.ids.last().map_or(0, |&id| i64::from(id))).collect();
            let slots: Vec<i64> = (0..rows.len() as i64).collect();
            let places = lengths.clone();
            lengths.iter_mut().for_each(|n| *n += 1);
            numbers(&model.logits(&step(model, &cache, &ids, &slots, &places, &lengths)), &mut logits)?;
        }
        Ok(rows)
    }

    /// Pictures and prompts into the slots of the cache; logits of what follows each, `[B, V]`.
    fn begin(&self, pictures: &[&Picture], prompts: &[Vec<u32>], lengths: &[i64], cache: &Cache) -> Tensor {
        let (model, trunk, device) = (&self.decoder, self.decoder.trunk(), self.decoder.device());
        let texts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let (embedded, segments) = self.embed(&self.pixels(pictures), &texts, false);
        let each = |f: &dyn Fn(i64, i64) -> Vec<i64>| (0..).zip(lengths).flat_map(|(slot, &n)| f(slot, n)).collect::<Vec<i64>>();
        let slots = each(&|slot, n| vec![slot; n as usize]);
        let places = each(&|_, n| (0..n).collect());
        let reach = each(&|_, n| vec![n; n as usize]);
        let last: Vec<i64> = lengths
            .iter()
            .scan(-1, |end, n| {
                *end += n;
                Some(*end)
            })
            .collect();
        let kept = Places::new(&slots, &places, device);
        let rotary = match segments.rows() {
            Some((_, time)) => trunk.tables_from_zero(time, Reach::Tokens(&reach[..time as usize])),
            None => trunk.tables(segments.positions(), Reach::Tokens(&reach)),
        };
        let tokens = Tokens::Prompts { segments: &segments, cache, places: &kept };
        let last = Tensor::from_slice(&last).to_device(device);
        let pass = Pass { train: false, rotary, tokens, wanted: Some(&last) };
        model.logits(&trunk.norm.forward(&trunk.blocks(trunk.put(embedded, Some(segments.positions()), false), &pass)))
    }
}

/// One token and its log-probability at the temperature (1 when greedy), before filters and bans.
fn choose(logits: &[f32], s: &Sampling, banned: &[u32], u: f64, scratch: &mut Vec<u32>) -> (u32, f32) {
    let warm = if s.temperature == 0.0 { 1.0 } else { s.temperature as f32 };
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from((x - top) / warm).exp()).sum();
    let log_prob = |x: f32| (f64::from((x - top) / warm) - sum.ln()) as f32;
    if s.temperature == 0.0 {
        let id = greedy(logits, banned);
        return (id, log_prob(logits[id as usize]));
    }
    let mut probs: Vec<f32> = logits.iter().map(|x| ((x - top) / warm).exp()).collect();
    let id = draw(&mut probs, Filter { top_k: s.top_k, top_p: s.top_p }, banned, u, scratch);
    (id, log_prob(logits[id as usize]))
}

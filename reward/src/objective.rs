//! The loss of an optimiser step, as its micro-batches' shares.
//!
//! loss = preference + `loss.centre_coef` · centring + `loss.lm_weight` · 1/M Σ −log p(token | prompt and answer before it)
//!
//! The last term is over the M tokens of the answers that some judge puts first: text regularisation by SFT (GRM, Yang et al. 2024, arXiv 2406.10216, which takes
//! −log σ(β Σ log p) of each answer, and weighs the two terms as 1 − α and α). Each term is divided by what the whole step has of it ([`Totals`]), so
//! micro-batches of any size give one gradient.

use crate::batch::Batch;
use data::config::{self, CentreForm, Margin, PreferenceKind, PreferenceLoss};
use loss::{lm, preference, soft};
use tch::Tensor;

/// What the terms of one optimiser step are divided by.
pub struct Totals {
    rankings: f64,
    pairs: f64,
    answers: f64,
    /// Tokens of the best answers.
    next: f64,
}

impl Totals {
    /// Of all micro-batches of a step.
    pub fn of(batches: &[Batch], c: &PreferenceLoss) -> Totals {
        let pairs =
            |b: &Batch| preference::pair_weight(&b.hard.ranks, &b.hard.weights, ties(c)) + soft::weight(&b.soft.ranks, &b.soft.weights);
        let rankings = |b: &Batch| match c.kind {
            PreferenceKind::BradleyTerry => pairs(b),
            PreferenceKind::PlackettLuce | PreferenceKind::Best => {
                preference::ranking_weight(&b.hard.ranks, &b.hard.weights) + soft::weight(&b.soft.ranks, &b.soft.weights)
            }
        };
        Totals {
            rankings: batches.iter().map(rankings).sum::<f64>().max(f64::MIN_POSITIVE),
            pairs: batches.iter().map(pairs).sum::<f64>().max(f64::MIN_POSITIVE),
            answers: batches.iter().map(|b| b.last.numel() as f64).sum(),
            next: batches.iter().flat_map(|b| &b.next).map(|(_, tokens)| tokens.numel() as f64).sum::<f64>().max(1.0),
        }
    }
}

fn ties(c: &PreferenceLoss) -> preference::Ties {
    match c.ties {
        config::Ties::Skip => preference::Ties::Skip,
        config::Ties::Half => preference::Ties::Half,
    }
}

/// What is minimised.
pub struct Objective<'a> {
    /// Kinds and weights of the terms.
    pub config: &'a PreferenceLoss,
    /// The language model's output matrix, where its loss is a term. `[V, D]`
    pub head: Option<Tensor>,
}

/// A micro-batch's share of a step's loss.
pub struct Share {
    /// Of the preference term, and the centring term with its weight.
    pub preference: f64,
    /// Of the mean over the best answers' tokens, in nats, without its weight.
    pub lm: f64,
    /// A scalar whose backward pass adds the gradient of all terms; its value means nothing.
    pub backward: Tensor,
}

impl Objective<'_> {
    /// From what [`Batch::hidden`] gave and scores `[B, K]` of a micro-batch.
    pub fn share(&self, hidden: &Tensor, scores: &Tensor, batch: &Batch, totals: &Totals) -> Share {
        let loss = self.preference(scores, batch, totals);
        let preference = loss.double_value(&[]);
        let (Some(head), Some((before, tokens))) = (&self.head, &batch.next) else {
            return Share { preference, lm: 0.0, backward: loss };
        };
        let scale = self.config.lm_weight / totals.next;
        let at_once = lm::positions_at_once(head.size()[0]);
        let (nll, carried) = lm::nll_chunked(&hidden.index_select(0, before), head, tokens, scale, at_once);
        Share { preference, lm: nll / totals.next, backward: loss + carried }
    }

    /// Preference term over the judgments, centring term over the answers.
    fn preference(&self, scores: &Tensor, batch: &Batch, totals: &Totals) -> Tensor {
        let (c, hard, softly) = (self.config, &batch.hard, &batch.soft);
        let mut terms = vec![];
        if !hard.is_empty() {
            let (judged, ranks, weights) = (hard.of(scores), &hard.ranks, &hard.weights); // [J, K]
            let levels = (c.margin != Margin::None).then_some(&hard.levels);
            terms.push(match c.kind {
                PreferenceKind::BradleyTerry => {
                    preference::bradley_terry_rankings(&judged, ranks, weights, levels, ties(c), c.label_smoothing)
                }
                PreferenceKind::PlackettLuce => preference::plackett_luce(&judged, ranks, weights),
                PreferenceKind::Best => preference::best(&judged, ranks, weights),
            });
        }
        if !softly.is_empty() {
            let (judged, ranks, worth, weights) = (softly.of(scores), &softly.ranks, &softly.worth, &softly.weights);
            terms.push(match c.kind {
                PreferenceKind::BradleyTerry => soft::pairs(&judged, worth, ranks, weights, c.label_smoothing),
                PreferenceKind::PlackettLuce => soft::plackett_luce(&judged, worth, ranks, weights),
                PreferenceKind::Best => soft::best(&judged, worth, ranks, weights),
            });
        }
        let mut loss = terms.iter().sum::<Tensor>() / totals.rankings;
        if c.centre_coef > 0.0 {
            loss += match c.centre_form {
                CentreForm::Scores => preference::centre_sum(scores, &batch.present) / totals.answers,
                CentreForm::Pairs => {
                    let hard = preference::centre_pairs(&hard.of(scores), &hard.ranks, &hard.weights, ties(c));
                    // Of soft labels every pair is learnt, whatever the ranks say.
                    let soft = preference::centre_pairs(&softly.of(scores), &softly.ranks, &softly.weights, preference::Ties::Half);
                    (hard + soft) / totals.pairs
                }
            } * c.centre_coef;
        }
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Item, Judgment};
    use model::{Config, HeadKind, Model, Parameter, Segments};
    use tch::{Device, Kind};

    /// Two answers that two judges put first and one that nobody does; a tie and an order; answers that share more than the prompt.
    fn items() -> [Item; 3] {
        let item = |asked: usize, answers: &[&[u32]], ranks: &[&[u32]]| Item {
            answers: answers.iter().map(|a| a.to_vec()).collect(),
            asked: Some(asked),
            judgments: ranks.iter().map(|r| Judgment { ranks: r.to_vec(), worth: None, levels: None, weight: 1.5 }).collect(),
        };
        [
            item(3, &[&[5, 6, 7, 8, 0], &[5, 6, 7, 8, 9, 0], &[5, 6, 7, 10, 0]], &[&[1, 2, 3], &[2, 1, 2]]),
            item(2, &[&[11, 12, 13, 0], &[11, 12, 14, 15, 0]], &[&[1, 1], &[2, 1]]),
            item(1, &[&[20, 21, 22, 0], &[20, 21, 23, 0]], &[&[1, 2]]),
        ]
    }

    /// The best answers, each alone: tokens, and how many of these are the prompt's.
    const BEST: [(&[i64], i64); 4] = [(&[5, 6, 7, 8, 0], 3), (&[5, 6, 7, 8, 9, 0], 3), (&[11, 12, 14, 15, 0], 2), (&[20, 21, 22, 0], 1)];
    const LEARNT: f64 = 11.0;

    fn tiny() -> Model {
        let mut config = Config::gpt2(40, 32, 2, 2, 16, 0.0).unwrap();
        config.init_std = 0.25; // large enough to have opinions
        Model::new(config, HeadKind::Scalar, Device::Cpu, 7).unwrap()
    }

    /// The gradients of all weights, which are zero afterwards.
    fn gradients(model: &Model) -> Vec<(String, Tensor)> {
        let take = |mut p: Parameter| {
            let grad = p.tensor.grad().copy();
            p.tensor.zero_grad();
            (p.name, grad)
        };
        model.parameters().into_iter().map(take).collect()
    }

    fn largest(x: &Tensor) -> f64 {
        x.abs().max().double_value(&[])
    }

    /// Loss and gradients of the step in micro-batches of `at_a_time` items.
    fn step(model: &Model, c: &PreferenceLoss, head: &Tensor, at_a_time: usize) -> ([f64; 2], Vec<(String, Tensor)>) {
        let items = items();
        let micro_batches: Vec<Batch> =
            items.chunks(at_a_time).map(|chunk| Batch::new(&chunk.iter().collect::<Vec<_>>(), Device::Cpu)).collect();
        let totals = Totals::of(&micro_batches, c);
        let objective = Objective { config: c, head: Some(head.shallow_clone()) };
        let mut sums = [0.0; 2];
        for batch in &micro_batches {
            let hidden = batch.hidden(model, true);
            let share = objective.share(&hidden, &batch.scores(model, &hidden), batch, &totals);
            share.backward.backward();
            sums = [sums[0] + share.preference, sums[1] + share.lm];
        }
        (sums, gradients(model))
    }

    /// The same by two losses worked out apart, the language model's an answer at a time.
    fn apart(model: &Model, c: &PreferenceLoss, head: &Tensor) -> ([f64; 2], Vec<(String, Tensor)>) {
        let items = items();
        let batch = Batch::new(&items.iter().collect::<Vec<_>>(), Device::Cpu);
        let scores = batch.scores(model, &batch.hidden(model, true));
        let totals = Totals::of(std::slice::from_ref(&batch), c);
        let preference = Objective { config: c, head: None }.preference(&scores, &batch, &totals);
        preference.backward();
        let mut sum = 0.0;
        for (ids, asked) in BEST {
            let n = ids.len() as i64;
            let tokens = Tensor::from_slice(ids);
            let hidden = model.forward_packed(&tokens, &Segments::from_groups(&[vec![ids.len()]], Device::Cpu), true);
            let logits = hidden.narrow(0, asked - 1, n - asked).linear::<Tensor>(head, None);
            let nll = lm::nll_sum(&logits, &tokens.narrow(0, asked, n - asked));
            (&nll * (c.lm_weight / LEARNT)).backward();
            sum += nll.double_value(&[]);
        }
        ([preference.double_value(&[]), sum / LEARNT], gradients(model))
    }

    /// Tied to the embedding, which learns from it, and one of its own, which does not.
    #[test]
    fn the_terms_are_those_worked_out_apart_in_micro_batches_of_any_size() {
        let model = tiny();
        let tied = model.parameters().into_iter().find(|p| p.name == "transformer.wte.weight").unwrap().tensor;
        let own = Tensor::arange(640, (Kind::Float, Device::Cpu)).sin().view([40, 16]);
        let c = PreferenceLoss { lm_weight: 0.5, centre_coef: 0.1, ..PreferenceLoss::default() };
        for head in [&tied, &own] {
            let (want, expected) = apart(&model, &c, head);
            assert!(want[1] > 1.0, "{want:?}");
            for at_a_time in [3, 2, 1] {
                let (found, got) = step(&model, &c, head, at_a_time);
                assert!(found.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, expected {want:?}");
                assert_eq!(got.len(), expected.len());
                for ((name, got), (_, want)) in got.iter().zip(&expected) {
                    // float32 sums of a few dozen terms in another order
                    let (gap, scale) = (largest(&(got - want)), largest(want));
                    assert!(gap < 1e-6 + 1e-4 * scale, "{at_a_time} at a time: gradient of {name} differs by {gap} (largest {scale})");
                }
            }
        }
        assert!(!own.grad().defined());
    }
}

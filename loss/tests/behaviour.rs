//! What must hold of the losses whatever the numbers are.

use crate::common;
use common::{close, floats};
use loss::lm::{Output, chunked, mask_targets, nll_chunked, nll_sum, positions_at_once, target_count};
use loss::mask::{count, log_probs, masked_mean, masked_var, whiten};
use loss::ppo::{KlController, PolicyClip, gae, last_valid, policy_loss, token_rewards, value_loss};
use loss::preference::{Ties, best, bradley_terry, bradley_terry_rankings, margins, pair_weight, plackett_luce, ranking_weight};
use loss::soft;
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// Numbers around 0, the same in every run: tests share libtorch's one generator, so it cannot serve here.
fn randn(shape: &[i64]) -> Tensor {
    thread_local!(static STATE: std::cell::Cell<u64> = const { std::cell::Cell::new(0x9E37_79B9_7F4A_7C15) });
    let uniform = || {
        STATE.with(|s| {
            s.set(s.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
            (s.get() >> 40) as f32 / (1u64 << 24) as f32
        })
    };
    let n = shape.iter().product::<i64>();
    let values: Vec<f32> = (0..n).map(|_| (0..4).map(|_| uniform()).sum::<f32>() * 1.7 - 3.4).collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// Ids below `high`.
fn randint(high: i64, shape: &[i64]) -> Tensor {
    (randn(shape).abs() * 1e4).to_kind(Kind::Int64).remainder(high)
}

/// Gradient of `weight` [D, V] from rows [8, T] of hidden states, learned in micro-batches of `micro` rows.
fn accumulated(hidden: &Tensor, weight: &Tensor, targets: &Tensor, micro: i64) -> Tensor {
    let leaf = weight.copy().set_requires_grad(true);
    let tokens = target_count(targets) as f64; // of the whole batch
    for (h, t) in hidden.split(micro, 0).iter().zip(targets.split(micro, 0)) {
        (nll_sum(&h.matmul(&leaf), &t) / tokens).backward();
    }
    leaf.grad()
}

#[test]
fn eight_micro_batches_of_one_are_one_batch_of_eight() {
    let (hidden, weight) = (randn(&[8, 6, 5]), randn(&[5, 9]));
    // Rows with 0 to 6 valid targets: averages of averages would come out different.
    let mask = Tensor::arange(6, CPU).unsqueeze(0).lt_tensor(&Tensor::from_slice(&[6f32, 1., 2., 0., 5., 3., 1., 6.]).unsqueeze(1));
    let targets = mask_targets(&randint(9, &[8, 6]), &mask);
    let whole = accumulated(&hidden, &weight, &targets, 8);
    close("8 x 1", &accumulated(&hidden, &weight, &targets, 1), &whole);
    close("4 x 2", &accumulated(&hidden, &weight, &targets, 2), &whole);
}

#[test]
fn rankings_accumulate_exactly() {
    let ranks = Tensor::from_slice(&[1i64, 2, 3, 1, 1, 1, 2, 1, 0, 1, 0, 0, 2, 1, 1, 3, 2, 1]).reshape([6, 3]);
    let (scores, weights) = (randn(&[6, 3]), Tensor::from_slice(&[1f32, 2., 0.5, 1., 3., 1.]));
    let gradient = |micro: i64, plackett: bool| {
        let leaf = scores.copy().set_requires_grad(true);
        let total = if plackett { ranking_weight(&ranks, &weights) } else { pair_weight(&ranks, &weights, Ties::Skip) };
        for at in (0..6).step_by(micro as usize) {
            let (s, r, w) = (leaf.narrow(0, at, micro), ranks.narrow(0, at, micro), weights.narrow(0, at, micro));
            let sum = if plackett { plackett_luce(&s, &r, &w) } else { bradley_terry_rankings(&s, &r, &w, None, Ties::Skip, 0.0) };
            (sum / total).backward();
        }
        leaf.grad()
    };
    for plackett in [false, true] {
        close("6 x 1", &gradient(1, plackett), &gradient(6, plackett));
        close("2 x 3", &gradient(3, plackett), &gradient(6, plackett));
    }
}

/// The losses from soft labels: scores, worth, present, weights.
type Soft = fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Tensor;
const SOFT: [Soft; 3] = [|s, w, p, v| soft::pairs(s, w, p, v, 0.0), soft::plackett_luce, soft::best];

#[test]
fn soft_labels_accumulate_exactly() {
    let present = Tensor::from_slice(&[1i64, 2, 3, 1, 1, 1, 2, 1, 0, 1, 0, 0, 2, 1, 1, 3, 2, 1]).reshape([6, 3]);
    let (scores, worth) = (randn(&[6, 3]), randn(&[6, 3]));
    let weights = Tensor::from_slice(&[1f32, 2., 0.5, 1., 3., 1.]);
    for loss in SOFT {
        let gradient = |micro: i64| {
            let leaf = scores.copy().set_requires_grad(true);
            let total = soft::weight(&present, &weights);
            for at in (0..6).step_by(micro as usize) {
                let part = |t: &Tensor| t.narrow(0, at, micro);
                (loss(&part(&leaf), &part(&worth), &part(&present), &part(&weights)) / total).backward();
            }
            leaf.grad()
        };
        close("6 x 1", &gradient(1), &gradient(6));
        close("2 x 3", &gradient(3), &gradient(6));
    }
}

#[test]
fn soft_labels_are_what_they_should_be_at_their_ends() {
    let (ranks, weights) = (Tensor::from_slice(&[1i64, 3, 2, 2, 1, 0]).reshape([2, 3]), Tensor::from_slice(&[2f32, 0.5]));
    let scores = randn(&[2, 3]);
    // Worths far apart are ranks.
    let certain = ranks.to_kind(Kind::Float) * -60.0;
    close(
        "pairs",
        &soft::pairs(&scores, &certain, &ranks, &weights, 0.0),
        &bradley_terry_rankings(&scores, &ranks, &weights, None, Ties::Skip, 0.0),
    );
    close("orders", &soft::plackett_luce(&scores, &certain, &ranks, &weights), &plackett_luce(&scores, &ranks, &weights));
    close("best", &soft::best(&scores, &certain, &ranks, &weights), &best(&scores, &ranks, &weights));
    // Equal worths are ties: one half. Two answers are a pair for all three losses.
    let pair = |f: &dyn Fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Tensor, worth: &Tensor| {
        f(&scores.narrow(1, 0, 2), worth, &Tensor::ones([2, 2], (Kind::Int64, Device::Cpu)), &weights)
    };
    let pairs = |s: &Tensor, w: &Tensor, p: &Tensor, v: &Tensor| soft::pairs(s, w, p, v, 0.0);
    let equal = Tensor::zeros([2, 2], CPU);
    let tied = |s: &Tensor, _: &Tensor, p: &Tensor, v: &Tensor| bradley_terry_rankings(s, p, v, None, Ties::Half, 0.0);
    close("tie", &pair(&pairs, &equal), &pair(&tied, &equal));
    let worth = randn(&[2, 2]);
    close("pair", &pair(&soft::plackett_luce, &worth), &pair(&pairs, &worth));
    close("pair", &pair(&soft::best, &worth), &pair(&pairs, &worth));
    // Scores that are the worths are learnt: no gradient, whatever stands in the empty places.
    for loss in SOFT {
        let learnt = (randn(&[2, 3]).masked_fill(&ranks.eq(0), f64::NAN) + 3.0).set_requires_grad(true);
        loss(&learnt, &learnt.detach(), &ranks, &weights).backward();
        assert!(floats(&learnt.grad()).iter().all(|g| g.abs() < 1e-6), "{:?}", floats(&learnt.grad()));
    }
}

#[test]
fn ppo_losses_accumulate_exactly() {
    let mask = Tensor::arange(5, CPU).unsqueeze(0).lt_tensor(&Tensor::from_slice(&[5f32, 1., 3., 4.]).unsqueeze(1));
    let [old, adv, new, old_v, ret, v] = [0; 6].map(|_| randn(&[4, 5]));
    let tokens = count(&mask);
    let gradient = |micro: i64| {
        let (p, q) = (new.copy().set_requires_grad(true), v.copy().set_requires_grad(true));
        for at in (0..4).step_by(micro as usize) {
            let part = |t: &Tensor| t.narrow(0, at, micro);
            let policy = policy_loss(&part(&p), &part(&old), &part(&adv), &part(&mask), PolicyClip::symmetric(0.2)).loss;
            let value = value_loss(&part(&q), &part(&old_v), &part(&ret), &part(&mask), 0.2).loss;
            ((policy + value * 0.1) / tokens).backward();
        }
        Tensor::cat(&[p.grad(), q.grad()], 0)
    };
    close("4 x 1", &gradient(1), &gradient(4));
}

#[test]
fn what_stands_outside_the_mask_never_counts() {
    let mask = Tensor::from_slice(&[0i64, 1, 1, 1, 0, 1, 1, 0, 0, 0]).reshape([2, 5]);
    let clean = randn(&[2, 5]);
    for junk in [f64::NAN, f64::INFINITY, -1e30] {
        let dirty = clean.masked_fill(&mask.eq(0), junk);
        close("mean", &masked_mean(&dirty, &mask), &masked_mean(&clean, &mask));
        close("var", &masked_var(&dirty, &mask, true), &masked_var(&clean, &mask, true));
        close("whiten", &whiten(&dirty, &mask, true, false), &whiten(&clean, &mask, true, false));
        let scores = Tensor::from_slice(&[1f32, -1.0]);
        let rewards = token_rewards(&clean, &scores, &mask, 0.1);
        close("rewards", &token_rewards(&dirty, &scores, &mask, 0.1), &rewards);
        let (a, r) = gae(&dirty, &dirty, &mask, 0.9, 0.8);
        let (b, s) = gae(&clean, &clean, &mask, 0.9, 0.8);
        close("advantages", &a, &b);
        close("returns", &r, &s);

        let (x, y) = (dirty.copy().set_requires_grad(true), clean.copy().set_requires_grad(true));
        let other = randn(&[2, 5]);
        let loss =
            |t: &Tensor| policy_loss(t, &other, &b, &mask, PolicyClip::symmetric(0.2)).loss + value_loss(t, &other, &s, &mask, 0.2).loss;
        let (dirty_loss, clean_loss) = (loss(&x), loss(&y));
        close("loss", &dirty_loss, &clean_loss);
        dirty_loss.backward();
        clean_loss.backward();
        close("gradient", &x.grad(), &y.grad());
    }
    // The same for absent answers.
    let ranks = Tensor::from_slice(&[2i64, 0, 1, 1, 1, 0]).reshape([2, 3]);
    let weights = Tensor::ones([2], CPU);
    let scores = randn(&[2, 3]);
    let dirty = scores.masked_fill(&ranks.eq(0), f64::NAN).set_requires_grad(true);
    let sum = plackett_luce(&dirty, &ranks, &weights) + bradley_terry_rankings(&dirty, &ranks, &weights, None, Ties::Half, 0.1);
    close(
        "preference",
        &sum,
        &(plackett_luce(&scores, &ranks, &weights) + bradley_terry_rankings(&scores, &ranks, &weights, None, Ties::Half, 0.1)),
    );
    sum.backward();
    assert!(floats(&dirty.grad()).iter().all(|g| g.is_finite()));
}

#[test]
fn a_batch_without_valid_tokens_is_zero_not_nan() {
    let (x, mask) = (randn(&[2, 3]), Tensor::zeros([2, 3], (Kind::Int64, Device::Cpu)));
    assert_eq!(masked_mean(&x, &mask).double_value(&[]), 0.0);
    assert!(floats(&whiten(&x, &mask, true, true)).iter().all(|v| *v == 0.0));
    assert!(floats(&last_valid(&mask)).iter().all(|v| *v == 0.0));
    let logits = randn(&[2, 3, 4]).set_requires_grad(true);
    let nll = nll_sum(&logits, &mask_targets(&mask, &mask));
    assert_eq!(nll.double_value(&[]), 0.0);
    nll.backward();
    assert!(floats(&logits.grad()).iter().all(|g| *g == 0.0));
}

#[test]
fn before_the_first_update_the_ratio_is_exactly_one() {
    let (logits, targets) = (randn(&[3, 6, 50]) * 4.0, randint(50, &[3, 6]));
    let (lp, mask) = (log_probs(&logits, &targets), Tensor::ones([3, 6], CPU));
    let out = policy_loss(&lp, &lp.copy(), &randn(&[3, 6]), &mask, PolicyClip::symmetric(0.2));
    assert_eq!(out.max_log_ratio.double_value(&[]), 0.0);
    assert_eq!(out.approx_kl.double_value(&[]), 0.0);
    assert_eq!(out.ratio.double_value(&[]), 18.0);
    assert_eq!(out.clipped.double_value(&[]), 0.0);
}

#[test]
fn the_chunked_head_gives_the_same_loss_and_gradients() {
    let (input, weight) = (randn(&[10, 4]), randn(&[7, 4]));
    let targets = Tensor::from_slice(&[0i64, 6, -100, 3, 3, 2, -100, 1, 5, 4]);
    let tokens = target_count(&targets) as f64;
    let run = |weight: &Tensor, chunk: Option<i64>| {
        let (x, w) = (input.copy().set_requires_grad(true), weight.copy().set_requires_grad(true));
        let hidden = x.tanh();
        let nll = match chunk {
            Some(chunk) => {
                let (nll, rest) = nll_chunked(&hidden, &w, &targets, 1.0 / tokens, chunk);
                rest.backward();
                nll
            }
            None => {
                let nll = nll_sum(&hidden.matmul(&w.tr()), &targets);
                (&nll / tokens).backward();
                nll.double_value(&[])
            }
        };
        (Tensor::from(nll), x.grad(), w.grad())
    };
    let whole = run(&weight, None);
    for chunk in [1, 3, 10, 64] {
        let part = run(&weight, Some(chunk));
        close("loss", &part.0, &whole.0);
        close("input gradient", &part.1, &whole.1);
        close("weight gradient", &part.2, &whole.2);
    }
    // So many columns that the weight's gradient is summed in three parts, the last of seven rows.
    let wide = randn(&[16_391, 4]);
    let (whole, part) = (run(&wide, None), run(&wide, Some(4)));
    close("loss", &part.0, &whole.0);
    close("input gradient", &part.1, &whole.1);
    close("weight gradient", &part.2, &whole.2);
    assert!(part.2.narrow(0, 16_384, 7).abs().min().double_value(&[]) > 0.0, "the last rows have their gradient");
}

#[test]
fn a_large_vocabulary_has_fewer_positions_at_once() {
    for (vocabulary, positions) in [(2, 1024), (8192, 1024), (32_768, 1024), (32_769, 512), (50_257, 512), (151_936, 128), (1 << 30, 64)] {
        assert_eq!(positions_at_once(vocabulary), positions, "{vocabulary}");
    }
}

#[test]
fn a_smoothed_head_with_a_bias_is_libtorchs() {
    let (input, weight, bias) = (randn(&[10, 4]), randn(&[7, 4]), randn(&[7]));
    let targets = Tensor::from_slice(&[0i64, 6, -100, 3, 3, 2, -100, 1, 5, 4]);
    let tokens = target_count(&targets) as f64;
    for smoothing in [0.0, 0.1, 0.6] {
        let leaf = |x: &Tensor| x.copy().set_requires_grad(true);
        let (x, w, b) = (leaf(&input), leaf(&weight), leaf(&bias));
        let logits = x.tanh().matmul(&w.tr()) + &b;
        let whole = logits.cross_entropy_loss(&targets, None::<&Tensor>, tch::Reduction::Sum, -100, smoothing);
        (&whole / tokens).backward();
        for chunk in [1, 3, 64] {
            let (y, v, c) = (leaf(&input), leaf(&weight), leaf(&bias));
            let output = Output { weight: &v, bias: Some(&c), smoothing };
            let (loss, rest) = chunked(&y.tanh(), output, &targets, 1.0 / tokens, chunk);
            rest.backward();
            close("loss", &Tensor::from(loss), &whole.to_kind(Kind::Double));
            close("input gradient", &y.grad(), &x.grad());
            close("weight gradient", &v.grad(), &w.grad());
            close("bias gradient", &c.grad(), &b.grad());
        }
    }
}

#[test]
fn a_ranking_of_two_is_a_pair() {
    let (scores, ranks, weights) = (randn(&[9, 2]), Tensor::from_slice(&[1i64, 2]).repeat([9, 1]), randn(&[9]).abs());
    let pairs = bradley_terry(&scores.select(1, 0), &scores.select(1, 1), &weights, None, 0.0);
    close("Plackett-Luce", &plackett_luce(&scores, &ranks, &weights), &pairs);
    close("rankings", &bradley_terry_rankings(&scores, &ranks, &weights, None, Ties::Skip, 0.0), &pairs);
    close("margins", &margins(&scores, &ranks), &(scores.select(1, 0) - scores.select(1, 1)));
}

#[test]
fn kl_controller_moves_towards_its_target_by_at_most_a_fifth() {
    let mut c = KlController::new(0.15, 6.0, 10_000.0);
    c.update(600.0, 512);
    assert_eq!(c.coef, 0.15 * (1.0 + 0.2 * 512.0 / 10_000.0));
    let raised = c.coef;
    c.update(5.4, 512);
    assert!((c.coef - raised * (1.0 - 0.1 * 0.0512)).abs() < 1e-12);
    c.update(f64::NAN, 512);
    assert!(c.coef.is_finite());
    let mut fixed = KlController::new(0.05, 0.0, 10_000.0);
    fixed.update(100.0, 64);
    assert_eq!(fixed.coef, 0.05);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Adding a constant to a ranking's scores changes nothing, and neither does the order in which its answers are listed.
    #[test]
    fn rankings_know_only_differences(
        answers in prop::collection::vec((-3f32..3.0, 0i64..4), 2..6),
        shift in -50f32..50.0,
        turn in 0usize..6,
    ) {
        let loss = |answers: &[(f32, i64)], shift: f32| {
            let scores: Vec<f32> = answers.iter().map(|a| a.0 + shift).collect();
            let ranks: Vec<i64> = answers.iter().map(|a| a.1).collect();
            let (s, r) = (Tensor::from_slice(&scores).unsqueeze(0), Tensor::from_slice(&ranks).unsqueeze(0));
            let w = Tensor::ones([1], CPU);
            [plackett_luce(&s, &r, &w), bradley_terry_rankings(&s, &r, &w, None, Ties::Half, 0.0)].map(|l| l.double_value(&[]))
        };
        let mut turned = answers.clone();
        turned.rotate_left(turn % answers.len());
        let plain = loss(&answers, 0.0);
        for other in [loss(&answers, shift), loss(&turned, 0.0)] {
            for (x, y) in plain.iter().zip(other) {
                prop_assert!((x - y).abs() < 2e-4 * (1.0 + x.abs()), "{x} {y}");
            }
        }
    }

    /// With λ = 1 the return is the discounted sum of rewards, whatever the values are; with λ = 0 the advantage is δ.
    #[test]
    fn gae_at_its_ends(row in prop::collection::vec((-2f32..2.0, -2f32..2.0), 1..12), gamma in 0.5f64..1.0) {
        let rewards: Vec<f32> = row.iter().map(|r| r.0).collect();
        let values: Vec<f32> = row.iter().map(|r| r.1).collect();
        let (r, v) = (Tensor::from_slice(&rewards).unsqueeze(0), Tensor::from_slice(&values).unsqueeze(0));
        let mask = Tensor::ones([1, row.len() as i64], CPU);
        let returns = floats(&gae(&r, &v, &mask, gamma, 1.0).1);
        let deltas = floats(&gae(&r, &v, &mask, gamma, 0.0).0);
        let mut sum = 0.0;
        for t in (0..row.len()).rev() {
            sum = f64::from(rewards[t]) + gamma * sum;
            prop_assert!((returns[t] - sum).abs() < 1e-4);
            let next = values.get(t + 1).copied().map_or(0.0, f64::from);
            prop_assert!((deltas[t] - (f64::from(rewards[t]) + gamma * next - f64::from(values[t]))).abs() < 1e-5);
        }
    }
}

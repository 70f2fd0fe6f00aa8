//! Every loss and its gradient against PyTorch (fixtures and generators: scripts/reference/loss.py, loss_soft.py).

use crate::common;
use common::{Golden, near};
use loss::lm::{mask_targets, nll_sum, target_count};
use loss::mask::{count, entropy, log_probs, masked_mean, masked_sum, masked_var, token_log_probs, whiten};
use loss::ppo::{KlClamp, KlEstimator, PolicyClip, gae, kl_penalty, policy_loss, token_rewards, value_loss};
use loss::preference::{Ties, bradley_terry, bradley_terry_rankings, centre_sum, pair_weight, plackett_luce, ranking_weight};
use loss::soft;
use tch::{Device, Kind, Tensor};

#[test]
fn language_model() {
    let g = Golden::load();
    let (logits, targets, mask) = (g.leaf("lm_logits"), g.get("lm_targets"), g.get("lm_mask"));
    g.check("lm_log_probs", &log_probs(&logits, &targets));
    g.check("lm_entropy", &entropy(&logits));

    let masked = mask_targets(&targets, &mask);
    assert_eq!(target_count(&masked) as f64, count(&mask));
    let nll = nll_sum(&logits, &masked);
    g.check("lm_nll", &nll);
    nll.backward();
    g.check("lm_nll_grad", &logits.grad());

    // The same loss by way of the log-probabilities has the same gradient.
    let again = g.leaf("lm_logits");
    (-masked_sum(&log_probs(&again, &targets), &mask)).backward();
    g.check("lm_nll_grad", &again.grad());

    let again = g.leaf("lm_logits");
    masked_sum(&entropy(&again), &mask).backward();
    g.check("lm_entropy_grad", &again.grad());

    // Both at once, by our own pass over the logits.
    let both = |logits: &Tensor| {
        let (log_probs, entropy) = token_log_probs(&logits.flatten(0, 1), &targets.flatten(0, 1), 1.0);
        (log_probs.view_as(&targets), entropy.view_as(&targets))
    };
    let again = g.leaf("lm_logits");
    let (found, spread) = both(&again);
    g.check("lm_log_probs", &found);
    g.check("lm_entropy", &spread);
    (-masked_sum(&found, &mask)).backward();
    g.check("lm_nll_grad", &again.grad());
    let again = g.leaf("lm_logits");
    masked_sum(&both(&again).1, &mask).backward();
    g.check("lm_entropy_grad", &again.grad());
}

/// At a temperature, with gradients of both at once, in both precisions, over more of a vocabulary than is summed at a time.
#[test]
fn token_log_probs_of_any_temperature() {
    for (kind, near) in [(Kind::Float, 1e-5), (Kind::BFloat16, 1e-2)] {
        let logits = (Tensor::arange(3 * 5003, (Kind::Float, Device::Cpu)) * 0.37).sin().view([3, 5003]) * 9.0;
        let targets = Tensor::from_slice(&[0i64, 17, 5002]);
        let (weigh, spread) = (Tensor::from_slice(&[1.0f32, -2.0, 0.5]), Tensor::from_slice(&[0.3f32, 0.0, -1.0]));
        let run = |both: &dyn Fn(&Tensor) -> (Tensor, Tensor)| {
            let leaf = logits.to_kind(kind).set_requires_grad(true);
            let (a, b) = both(&leaf);
            (&a * &weigh + &b * &spread).sum(Kind::Float).backward();
            [a.detach(), b.detach(), leaf.grad().to_kind(Kind::Float)]
        };
        let ours = run(&|x| token_log_probs(x, &targets, 0.7));
        let want = run(&|x| (log_probs(&(x.to_kind(Kind::Float) / 0.7), &targets), entropy(&(x.to_kind(Kind::Float) / 0.7))));
        for (i, (a, b)) in ours.iter().zip(&want).enumerate() {
            let near = if i < 2 { 1e-5 } else { near };
            let largest = b.abs().max().double_value(&[]);
            assert!((a - b).abs().max().double_value(&[]) < near * largest, "{kind:?}, {i}: {a:?} {b:?}");
        }
    }
    let outside = native::token_log_probs(&Tensor::zeros([1, 4], (Kind::Float, Device::Cpu)), &Tensor::from_slice(&[4i64]), 1.0);
    assert!(outside.unwrap_err().to_string().contains("outside the vocabulary"));
}

#[test]
fn masked_statistics_and_whitening() {
    let g = Golden::load();
    let (x, mask) = (g.get("stat_x"), g.get("lm_mask"));
    g.check("stat_mean", &masked_mean(&x, &mask));
    g.check("stat_var", &masked_var(&x, &mask, false));
    g.check("stat_var_unbiased", &masked_var(&x, &mask, true));
    g.check("whiten_shift_biased", &whiten(&x, &mask, true, false));
    g.check("whiten_shift_unbiased", &whiten(&x, &mask, true, true));
    g.check("whiten_keep_biased", &whiten(&x, &mask, false, false));
    g.check("whiten_keep_unbiased", &whiten(&x, &mask, false, true));
}

#[test]
fn bradley_terry_on_pairs() {
    let g = Golden::load();
    let (worse, weights, margin) = (g.get("bt_worse"), g.get("bt_weights"), g.get("bt_margins"));
    for (name, eps, margin) in [("plain", 0.0, None), ("smooth", 0.1, None), ("margin", 0.0, Some(&margin)), ("tie", 0.5, None)] {
        let better = g.leaf("bt_better");
        let loss = bradley_terry(&better, &worse, &weights, margin, eps);
        g.check(&format!("bt_{name}"), &loss);
        loss.backward();
        g.check(&format!("bt_{name}_grad"), &better.grad());
    }
}

#[test]
fn bradley_terry_on_rankings() {
    let g = Golden::load();
    let (ranks, weights) = (g.get("rank_ranks"), g.get("rank_weights"));
    for (name, ties, eps) in [("skip", Ties::Skip, 0.0), ("half", Ties::Half, 0.0), ("smooth", Ties::Skip, 0.1)] {
        let scores = g.leaf("rank_scores");
        let loss = bradley_terry_rankings(&scores, &ranks, &weights, None, ties, eps);
        g.check(&format!("pairs_{name}"), &loss);
        loss.backward();
        g.check(&format!("pairs_{name}_grad"), &scores.grad());
        near("weight", pair_weight(&ranks, &weights, ties), g.number(&format!("pairs_{name}_weight")));
    }
}

#[test]
fn plackett_luce_with_ties() {
    let g = Golden::load();
    let (scores, ranks, weights) = (g.leaf("rank_scores"), g.get("rank_ranks"), g.get("rank_weights"));
    let loss = plackett_luce(&scores, &ranks, &weights);
    g.check("pl", &loss);
    loss.backward();
    g.check("pl_grad", &scores.grad());
    near("weight", ranking_weight(&ranks, &weights), g.number("pl_weight"));
    g.check("centre", &centre_sum(&scores, &ranks));
}

#[test]
fn soft_labels() {
    let g = Golden::soft();
    let (ranks, worth, weights) = (g.get("ranks"), g.get("worth"), g.get("weights"));
    let check = |name: &str, loss: &dyn Fn(&Tensor) -> Tensor| {
        let scores = g.leaf("scores");
        let loss = loss(&scores);
        g.check(name, &loss);
        loss.backward();
        g.check(&format!("{name}_grad"), &scores.grad());
        near("weight", soft::weight(&ranks, &weights), g.number(&format!("{name}_weight")));
    };
    check("pairs", &|s| soft::pairs(s, &worth, &ranks, &weights, 0.0));
    check("pairs_smooth", &|s| soft::pairs(s, &worth, &ranks, &weights, 0.1));
    check("best", &|s| soft::best(s, &worth, &ranks, &weights));
    check("plackett_luce", &|s| soft::plackett_luce(s, &worth, &ranks, &weights));
}

#[test]
fn margins_of_rankings() {
    let g = Golden::soft();
    let (ranks, weights, levels) = (g.get("ranks"), g.get("weights"), g.get("levels"));
    for (name, ties, eps) in [("margin", Ties::Skip, 0.0), ("margin_half", Ties::Half, 0.1)] {
        let scores = g.leaf("scores");
        let loss = bradley_terry_rankings(&scores, &ranks, &weights, Some(&levels), ties, eps);
        g.check(name, &loss);
        loss.backward();
        g.check(&format!("{name}_grad"), &scores.grad());
        near("weight", pair_weight(&ranks, &weights, ties), g.number(&format!("{name}_weight")));
    }
}

#[test]
fn ppo() {
    let g = Golden::load();
    let (old, reference, mask) = (g.get("ppo_old"), g.get("ppo_ref"), g.get("ppo_mask"));
    g.check("kl_k1", &kl_penalty(&old, &reference, KlEstimator::K1, KlClamp::default()));
    g.check("kl_k2", &kl_penalty(&old, &reference, KlEstimator::K2, KlClamp::default()));
    g.check("kl_k3", &kl_penalty(&old, &reference, KlEstimator::K3, KlClamp::default()));

    let constants = g.numbers("ppo_constants");
    let [beta, gamma, lambda, clip, value_clip] = constants[..] else { panic!("five constants") };
    let kl = kl_penalty(&old, &reference, KlEstimator::K1, KlClamp::default());
    let rewards = token_rewards(&kl, &g.get("ppo_score"), &mask, beta);
    g.check("ppo_rewards", &rewards);
    let old_values = g.get("ppo_old_values");
    let (advantages, returns) = gae(&rewards, &old_values, &mask, gamma, lambda);
    g.check("ppo_advantages", &advantages);
    g.check("ppo_returns", &returns);

    let new = g.leaf("ppo_new");
    let policy = policy_loss(&new, &old, &advantages, &mask, PolicyClip::symmetric(clip));
    g.check("policy", &policy.loss);
    policy.loss.backward();
    g.check("policy_grad", &new.grad());
    let stats = [policy.clipped, policy.approx_kl, policy.ratio, policy.max_log_ratio];
    for (got, want) in stats.iter().zip(g.numbers("policy_stats")) {
        near("policy statistics", got.double_value(&[]), want);
    }

    for (name, clip) in [("value", value_clip), ("value_free", 0.0)] {
        let values = g.leaf("ppo_values");
        let value = value_loss(&values, &old_values, &returns, &mask, clip);
        g.check(name, &value.loss);
        g.check(&format!("{name}_clipped"), &value.clipped);
        value.loss.backward();
        g.check(&format!("{name}_grad"), &values.grad());
    }
}

//! The variants of other projects: TRL's own code, and the formulas of lm-human-preferences, verl, NeMo-RL and OpenRLHF (fixture and generator:
//! scripts/reference/loss_variants.py).

use crate::common;
use common::{Golden, floats, near};
use loss::mask::{entropy, log_probs, masked_mean, masked_var, whiten};
use loss::ppo::{KlClamp, KlController, KlEstimator, PolicyClip, gae, kl_penalty, policy_loss, token_rewards, value_loss};
use loss::preference::{Ties, best, bradley_terry, centre_pairs, pair_weight};
use tch::Tensor;

#[test]
fn trl_statistics() {
    let g = Golden::variants();
    g.check("trl_log_probs", &log_probs(&g.get("trl_logits"), &g.get("trl_ids")));
    g.check("trl_entropy", &entropy(&g.get("trl_logits")));
    let (x, mask) = (g.get("stat_x"), g.get("stat_mask"));
    g.check("trl_mean", &masked_mean(&x, &mask));
    g.check("trl_var", &masked_var(&x, &mask, true));
    g.check("trl_whiten_shift", &whiten(&x, &mask, true, true));
    g.check("trl_whiten_keep", &whiten(&x, &mask, false, true));
}

#[test]
fn softmax_of_the_best_answer() {
    let g = Golden::variants();
    let scores = g.leaf("centre_scores");
    let loss = best(&scores, &g.get("centre_ranks"), &g.get("centre_weights"));
    g.check("best", &loss);
    loss.backward();
    g.check("best_grad", &scores.grad());
}

/// TRL's way from log-probabilities and scores to whitened advantages, for k1 and for k3 with whitened rewards: the score and one more value stand one
/// position after an end token, and on the last token of a full answer.
#[test]
fn trl_advantages() {
    let g = Golden::variants();
    let (mask, value_mask, values) = (g.get("trl_mask"), g.get("trl_value_mask"), g.get("trl_values"));
    for (name, estimator, whitened) in [("k1", KlEstimator::K1, false), ("k3", KlEstimator::K3, true)] {
        let kl = kl_penalty(&g.get("trl_logprobs"), &g.get("trl_ref"), estimator, KlClamp::default()) * &mask;
        let mut rewards = token_rewards(&kl, &g.get("trl_scores"), &value_mask, 0.07);
        if whitened {
            rewards = whiten(&rewards, &value_mask, false, true);
        }
        g.check(&format!("trl_{name}_rewards"), &rewards);
        let (advantages, returns) = gae(&rewards, &values, &value_mask, 0.98, 0.93);
        g.check(&format!("trl_{name}_returns"), &returns);
        g.check(&format!("trl_{name}_advantages"), &whiten(&advantages, &mask, true, true));
    }
}

#[test]
fn trl_losses() {
    let g = Golden::variants();
    let (mask, value_mask) = (g.get("trl_mask"), g.get("trl_value_mask"));
    let (new, values) = (g.leaf("trl_new"), g.leaf("trl_vpred"));
    let count = |mask: &Tensor| floats(mask).iter().sum::<f64>();
    let policy = policy_loss(&new, &g.get("trl_logprobs"), &g.get("trl_k3_advantages"), &mask, PolicyClip::symmetric(0.2));
    let value = value_loss(&values, &g.get("trl_values"), &g.get("trl_k3_returns"), &value_mask, 0.25);
    let (policy_mean, value_mean) = (policy.loss / count(&mask), value.loss / count(&value_mask));
    g.check("trl_policy", &policy_mean);
    g.check("trl_value", &value_mean);
    let loss = policy_mean + value_mean * 0.1;
    g.check("trl_loss", &loss);
    loss.backward();
    g.check("trl_policy_grad", &new.grad());
    g.check("trl_value_grad", &values.grad());
    let fractions = g.numbers("trl_clipfracs");
    near("policy clipfrac", policy.clipped.double_value(&[]) / count(&mask), fractions[0]);
    near("value clipfrac", value.clipped.double_value(&[]) / count(&value_mask), fractions[1]);
}

#[test]
fn clamped_kl() {
    let g = Golden::variants();
    let (d, zero) = (g.get("kl_d"), g.get("kl_d").zeros_like());
    let kl = |estimator, difference, estimate| kl_penalty(&d, &zero, estimator, KlClamp { difference, estimate });
    g.check("kl_verl", &kl(KlEstimator::K3, 20.0, 10.0));
    g.check("kl_openrlhf", &kl(KlEstimator::K3, 0.0, 10.0));
    g.check("kl_k2", &kl(KlEstimator::K2, 0.0, 0.0));
    g.check("kl_k1_clamped", &kl(KlEstimator::K1, 0.0, 5.0));
}

#[test]
fn asymmetric_and_dual_clipping() {
    let g = Golden::variants();
    let (old, advantage) = (g.get("clip_old"), g.get("clip_advantage"));
    for (name, low, high, dual) in
        [("plain", 0.2, 0.2, 0.0), ("higher", 0.2, 0.28, 0.0), ("dual", 0.2, 0.2, 3.0), ("nemo", 0.2, 0.28, 10.0)]
    {
        let new = g.leaf("clip_new");
        let loss = policy_loss(&new, &old, &advantage, &old.ones_like(), PolicyClip { low, high, dual }).loss;
        g.check(&format!("clip_{name}"), &loss);
        loss.backward();
        g.check(&format!("clip_{name}_grad"), &new.grad());
    }
}

#[test]
fn adaptive_kl_controller() {
    let g = Golden::variants();
    let mut controller = KlController::new(0.15, 6.0, 10_000.0);
    for (kl, beta) in g.numbers("controller_kls").into_iter().zip(g.numbers("controller_betas")) {
        controller.update(kl, 512);
        near("β", controller.coef, beta);
    }
}

#[test]
fn trl_reward_loss_with_margins_and_centring() {
    let g = Golden::variants();
    let (chosen, rejected) = (g.leaf("rm_chosen"), g.leaf("rm_rejected"));
    let (ones, margin) = (chosen.ones_like().detach(), g.get("rm_margin"));
    let scores = Tensor::stack(&[&chosen, &rejected], 1); // [P, 2]
    let ranks = Tensor::from_slice(&[1i64, 2]).expand([6, 2], false);
    let centring = centre_pairs(&scores, &ranks, &ones, Ties::Skip) / pair_weight(&ranks, &ones, Ties::Skip);
    let loss = bradley_terry(&chosen, &rejected, &ones, Some(&margin), 0.0) / 6.0 + centring * 0.01;
    g.check("rm_loss", &loss);
    loss.backward();
    g.check("rm_grads", &Tensor::stack(&[chosen.grad(), rejected.grad()], 1));
}

#[test]
fn centring_of_rankings() {
    let g = Golden::variants();
    let (ranks, weights) = (g.get("centre_ranks"), g.get("centre_weights"));
    for (name, ties) in [("skip", Ties::Skip), ("half", Ties::Half)] {
        let scores = g.leaf("centre_scores");
        let sum = centre_pairs(&scores, &ranks, &weights, ties);
        g.check(&format!("centre_{name}"), &sum);
        sum.backward();
        g.check(&format!("centre_{name}_grad"), &scores.grad());
    }
}

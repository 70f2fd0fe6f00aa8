//! What became of the rows, said before the training: what is in quarantine, what was no ranking, what has no worth or score though the loss wants it.

use anyhow::{Result, ensure};
use data::config::{Margin, PreferenceKind, RewardConfig};
use data::rankings::Ranking;
use data::split::Split;
use train::progress::note;

/// Says it on standard error. An error where the loss cannot work with what is there.
pub fn read(rankings: &Split<Ranking>, c: &RewardConfig) -> Result<()> {
    let report = &rankings.report;
    if report.rejected > 0 {
        note(&format!("reward: {} of {} rows are in {}", report.rejected, report.read, report.path.display()));
    }
    if let Some(left_out) = report.left_out() {
        note(&format!("reward: {left_out}"));
    }
    let all = rankings.train.len();
    let with = |has: fn(&Ranking) -> bool| rankings.train.iter().filter(|r| has(r)).count();
    let worth = with(|r| r.worth.is_some());
    if c.loss.soft_labels && worth > 0 {
        note(&format!("reward: {worth} of {all} rankings have a fitted worth: learnt as probabilities (loss.soft_labels)"));
        let most = rankings.train.iter().filter(|r| r.worth.is_some()).map(|r| r.answers.len()).max().unwrap_or(0);
        ensure!(
            c.loss.kind != PreferenceKind::PlackettLuce || most <= loss::soft::MOST_ANSWERS,
            "loss.kind = \"plackett-luce\": soft labels of {most} answers, at most {} can be learnt: take \"bradley-terry\", or \
             loss.soft_labels = false",
            loss::soft::MOST_ANSWERS
        );
    }
    let (name, levels) = match c.loss.margin {
        Margin::None => return Ok(()),
        Margin::Scores => ("scores", with(|r| r.scores.is_some())),
        Margin::Worth => ("worth", worth),
    };
    ensure!(levels > 0, "loss.margin = \"{name}\": no ranking has them: set loss.margin = \"none\"");
    if levels < all {
        note(&format!("reward: {} of {all} rankings have no {name} and get no margin", all - levels));
    }
    Ok(())
}

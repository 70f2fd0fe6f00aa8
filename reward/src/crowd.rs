//! Whose word counts how much: `data.judges`.

use anyhow::{Result, ensure};
use data::config::{Judges, RewardConfig};
use data::rankings::Ranking;
use judges::learn::{Known, Opinion};
use train::{RunDir, progress::note};

/// What was found of each judge, a JSON object a line, in the run folder.
pub const FILE: &str = "judges.jsonl";
/// Judges whose whole interval lies below this are counted in what is said: where a typical judge sees the better of two answers in three cases of four, such a one sees it
/// in fewer than 64 of a hundred.
const LITTLE: f64 = 0.5;

/// The training rankings as the model is to hear them. Writes [`FILE`] and says it in a line, unless all judges count alike.
pub fn heard(rankings: Vec<Ranking>, c: &RewardConfig, run: &RunDir) -> Result<Vec<Ranking>> {
    if c.data.judges == Judges::Alike {
        return Ok(rankings);
    }
    let worth = rankings.iter().filter(|r| r.worth.is_some()).count();
    ensure!(worth == 0, "data.judges: {worth} rankings have fitted worths, which are everybody's word: set data.judges = \"alike\"");
    let opinion = Opinion::of(&rankings);
    let judges = opinion.judges();
    let told = judges.iter().filter(|j| j.compared > 0).count();
    ensure!(
        told > 1,
        "data.judges: no prompt was judged by two who are named, so nothing says whom to believe: name columns.judge, or set data.judges = \
         \"alike\""
    );
    let lines: Vec<String> = judges.iter().map(|judge| Ok(serde_json::to_string(judge)? + "\n")).collect::<Result<_>>()?;
    run.write(FILE, lines.concat().as_bytes())?;
    note(&said(&judges, told));
    Ok(match c.data.judges {
        Judges::Fitted => opinion.fitted(&rankings),
        _ => opinion.weigh(rankings),
    })
}

fn said(judges: &[Known], told: usize) -> String {
    let compared = || judges.iter().filter(|j| j.compared > 0);
    let (low, high) = compared().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), j| (l.min(j.reliability), h.max(j.reliability)));
    let careless = compared().filter(|j| j.ci[1] < LITTLE).count();
    let alone = match judges.len() - told {
        0 => String::new(),
        n => format!("; {n} share no prompt with another and count as a typical one"),
    };
    format!("reward: {told} judges, reliabilities {low:.2} to {high:.2}, {careless} surely below {LITTLE}{alone} ({FILE})")
}

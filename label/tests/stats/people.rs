//! Real people's judgments (E2E crowd ratings): the figures beside the data's own manifest, and whether knowing the judges helps.

use super::panel;
use data::config::{Columns, Format, Quarantine, RankingData, Source};
use data::labels::Judgment;
use data::quarantine;
use data::rankings::load_rankings;
use judges::fit::{Fit, Options, fit};
use judges::panel::{NONE, Panel};
use label::stats::report;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// `RLHF_DATA`, or `shared/data` beside the repository.
fn data_folder() -> PathBuf {
    std::env::var_os("RLHF_DATA").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from)
}

/// The rows of one aspect, by the columns of configs/restaurants, with the time that each took. None, said aloud, where they are absent.
pub fn e2e(file: &str, score: &str) -> Option<Vec<Judgment>> {
    let path = data_folder().join("r02-e2e-rankme-k5").join(file);
    if !path.exists() {
        // Past the test harness's capture: a skipped test must be seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: E2E crowd judgments, because {} is absent", path.display());
        return None;
    }
    let five = |name: &str| (1..=5).map(|i| format!("{name}{i}")).collect();
    let columns = Columns {
        prompt: "mr".into(),
        answers: five("ref"),
        scores: five(score),
        judge: "_worker_id".into(),
        weight: "_trust".into(),
        group: "mr_id".into(),
        ..Columns::default()
    };
    let times = times(&path, &columns);
    let source = Source { path: path.display().to_string(), format: None, columns };
    let strict = Quarantine { max_fraction: 1.0, always_allow: 0 };
    let config = RankingData { sources: vec![source], quarantine: strict, ..RankingData::default() };
    let dir = tempfile::tempdir().expect("temporary folder");
    let split = load_rankings(&config, None, 0.0, 1, &dir.path().join("bad.jsonl")).expect("rankings");
    assert_eq!(split.report.rejected, 0);
    let mut rows: Vec<Judgment> = split.train.iter().map(Judgment::from).collect();
    rows.iter_mut().for_each(|row| row.seconds = times.get(&row.row).copied());
    Some(rows)
}

/// Seconds between `_started_at` and `_created_at`, by line.
fn times(path: &Path, columns: &Columns) -> HashMap<u64, f32> {
    let of = |row: &data::source::Row, name: &str| {
        let text = row.fields.get(name)?.as_str()?;
        chrono::NaiveDateTime::parse_from_str(text, "%m/%d/%Y %H:%M:%S").ok()
    };
    let dir = tempfile::tempdir().expect("temporary folder");
    let mut bad = quarantine::Quarantine::new(dir.path().join("bad.jsonl"));
    let mut times = HashMap::new();
    data::source::read_file(path, Format::Csv, columns, &mut bad, &mut |row, _| {
        if let Some((start, end)) = of(&row, "_started_at").zip(of(&row, "_created_at")) {
            times.insert(row.line, (end - start).num_seconds() as f32);
        }
        Ok(())
    })
    .expect("rows");
    times
}

#[test]
fn agreement_is_what_pandas_and_the_manifest_say() {
    // Counted with pandas on these files: pairs of different texts, two judges, neither tied; each judge once a pair. The manifest counts a larger
    // set (67.1% of 6,534 and 62.5% of 9,726), of which these files are the part with mr_id 1 to 420: the same within a point.
    for (file, score, rows, items, judges, manifest, longer) in
        [("quality.csv", "quality", 1974, 938, 108, 0.671, 0.623), ("naturalness.csv", "natur", 2814, 938, 104, 0.625, 0.393)]
    {
        let Some(judgments) = e2e(file, score) else { return };
        let panel = panel(&judgments);
        let fit = fit(&panel, &Options::default(), |_, _| {});
        let report = report::build(&panel, &fit, 1, Vec::new());
        let c = &report.counts;
        assert_eq!((c.comparisons, c.items, c.judges, c.prompts, c.groups), (rows, items, judges, 420, 420), "{file}");
        let strict = report.agreement.strict.expect("several judges");
        let majority = report.bias.longer_majority.expect("majorities");
        eprintln!("{file}: {:?}\n{:?}", report.agreement, report.ceiling);
        assert!((strict.value - manifest).abs() < 0.01, "{file}: {strict:?}, the manifest says {manifest}");
        assert!((majority.value - longer).abs() < 0.01, "{file}: {majority:?}, the manifest says {longer}");
        // The stage `reward` must say the same of the same rows.
        let rankings = rankings(&judgments);
        let lengths: Vec<Vec<f64>> = rankings.iter().map(|r| r.answers.iter().map(|a| a.chars().count() as f64).collect()).collect();
        let reward = evaluate::preference::evaluate(&rankings, &lengths, 1).expect("pairs");
        let theirs = reward.judge_agreement.expect("several judges");
        assert_eq!((strict.n, strict.value), (theirs.comparisons, theirs.agreement), "{file}");
        assert!(report.time.expect("times").n == rows);
    }
}

fn rankings(judgments: &[Judgment]) -> Vec<data::rankings::Ranking> {
    let one = |j: &Judgment| data::rankings::Ranking {
        prompt: j.prompt.clone(),
        worth: None,
        answers: j.answers.clone(),
        ranks: j.ranks.clone().expect("ranks"),
        scores: None,
        judge: j.judge.clone(),
        weight: 1.0,
        group: j.group.clone(),
        file: j.file.clone(),
        row: j.row,
    };
    judgments.iter().map(one).collect()
}

/// Mean negative log-likelihood and accuracy over judgments that a fit has not seen.
#[derive(Default)]
struct HeldOut {
    /// Of better, tied, worse.
    verdict: (f64, f64),
    /// Of verdicts that are no tie, given that.
    strict: (f64, f64),
    right: f64,
}

impl HeldOut {
    fn add(&mut self, fit: &Fit, a: u32, b: u32, judge: u32, said: i8) {
        let p = fit.predict(a, b, judge);
        self.verdict = (self.verdict.0 - p.of(said).ln(), self.verdict.1 + 1.0);
        if said != 0 {
            let sure = p.of(said) / (p.a + p.b);
            self.strict = (self.strict.0 - sure.ln(), self.strict.1 + 1.0);
            self.right += if sure > 0.5 {
                1.0
            } else if sure == 0.5 {
                0.5
            } else {
                0.0
            };
        }
    }

    fn means(&self) -> [f64; 3] {
        [self.verdict.0 / self.verdict.1, self.strict.0 / self.strict.1, self.right / self.strict.1]
    }
}

#[test]
fn knowing_the_judges_predicts_judgments_left_out() {
    const FOLDS: usize = 5;
    for (file, score) in [("quality.csv", "quality"), ("naturalness.csv", "natur")] {
        let Some(judgments) = e2e(file, score) else { return };
        let panel: Panel = panel(&judgments);
        let [mut own, mut typical, mut alike] = [HeldOut::default(), HeldOut::default(), HeldOut::default()];
        for fold in 0..FOLDS {
            // A row in five, spread over items and judges.
            let hidden: Vec<bool> = (0..panel.votes.len()).map(|i| (i * 7919 + 13) % FOLDS == fold).collect();
            let weighted = fit(&panel, &Options { hidden: hidden.clone(), ..Options::default() }, |_, _| {});
            let plain = fit(&panel, &Options { hidden: hidden.clone(), alike: true }, |_, _| {});
            for vote in panel.votes.iter().zip(&hidden).filter(|(_, h)| **h).map(|(v, _)| v) {
                let told = panel.told(vote);
                for (i, j, said) in panel.pairs(vote) {
                    own.add(&weighted, told[i], told[j], vote.judge, said);
                    typical.add(&weighted, told[i], told[j], NONE, said);
                    alike.add(&plain, told[i], told[j], vote.judge, said);
                }
            }
        }
        let [own, typical, alike] = [own.means(), typical.means(), alike.means()];
        for (name, [verdict, strict, right]) in [("judges known", own), ("judges known, asked as one", typical), ("judges alike", alike)] {
            eprintln!(
                "{file}, {name}: {verdict:.4} nats a verdict, {strict:.4} a verdict that is no tie, {:.2}% of those right",
                100.0 * right
            );
        }
        // Who judges matters most for ties; but the worths themselves are better too.
        assert!(own[0] < alike[0] - 0.1, "{file}");
        assert!(own[1] < alike[1] - 0.01, "{file}");
        assert!(typical[1] < alike[1] - 0.003, "{file}");
        // 10,000 judgments: one standard error of a share is half a point.
        assert!(typical[2] > alike[2] - 0.01, "{file}");
    }
}

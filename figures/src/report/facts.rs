//! Which numbers a reader sees, in which order and unit: the terminal and the page print the same list.

use super::read::{StageRun, numbers};
use super::samples::Comparison;
use polars::prelude::*;
use serde_json::{Map, Value, json};

/// One line of the report.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// What it is.
    pub label: String,
    /// The number, or "missing".
    pub value: String,
    /// Interval, unit, what to compare it with.
    pub detail: String,
}

/// Key in the report, column of the metrics, and how the column becomes one number.
type Reduced = (&'static str, &'static str, fn(Expr) -> Expr);

/// What the metrics alone can say: steps, time, speed, first and last evaluation. Keys that the stage's own summary holds stand.
pub fn from_metrics(metrics: &DataFrame) -> PolarsResult<Map<String, Value>> {
    let wanted: [Reduced; 9] = [
        ("steps", "step", Expr::max),
        ("tokens", "tokens", Expr::max),
        ("wall_s", "wall_s", Expr::max),
        ("first_eval_loss", "eval/loss", Expr::first_non_null),
        ("eval_loss", "eval/loss", Expr::last_non_null),
        ("bits_per_byte", "eval/bits_per_byte", Expr::last_non_null),
        ("tokens_per_s", "tokens_per_s", Expr::median),
        ("episodes_per_s", "episodes_per_s", Expr::median),
        ("first_eval_accuracy", "eval/accuracy", Expr::first_non_null),
    ];
    let numeric = |name: &str| metrics.column(name).is_ok_and(|c| c.dtype() == &DataType::Float64);
    let there: Vec<_> = wanted.iter().filter(|w| numeric(w.1)).collect();
    let table =
        metrics.clone().lazy().select(there.iter().map(|(key, column, f)| f(col(*column)).alias(*key)).collect::<Vec<_>>()).collect()?;
    let mut map = Map::new();
    for (key, ..) in there {
        if let Some(&value) = numbers(&table, key)?.first().filter(|v| v.is_finite()) {
            let whole = matches!(*key, "steps" | "tokens");
            map.insert(key.to_string(), if whole { json!(value as u64) } else { json!(value) });
        }
    }
    Ok(map)
}

/// The lines of one stage.
pub fn facts(run: &StageRun, object: &Map<String, Value>, comparison: Option<&Comparison>) -> Vec<Fact> {
    let mut lines = Lines { object, facts: vec![] };
    if !run.is_present() {
        return vec![Fact {
            label: "missing".into(),
            value: String::new(),
            detail: "no summary.json and no metrics.jsonl in its folder".into(),
        }];
    }
    if run.summary.is_none() {
        lines.push("unfinished", String::new(), "no summary.json: the run has not ended; what follows is from its metrics".into());
    }
    match run.stage {
        "pretrain" | "sft" => lines.language_model(run.stage == "pretrain"),
        "reward" => lines.reward(),
        _ => lines.ppo(comparison),
    }
    match lines.number("wall_s") {
        Some(seconds) => lines.push("time", duration(seconds), String::new()),
        None => lines.plain("time", "wall_s", ""),
    }
    lines.left_out();
    if !run.alarms.is_empty() {
        let when: Vec<String> = run.alarms.iter().map(|a| format!("{} at {}", a.kind, a.step)).collect();
        lines.push("alarms", number(run.alarms.len() as f64), when.join(", "));
    } else if object.contains_key("alarms") {
        lines.push("alarms", "none".into(), String::new());
    }
    for note in object.get("notes").and_then(Value::as_array).into_iter().flatten() {
        lines.push("note", String::new(), note.as_str().unwrap_or_default().into());
    }
    lines.facts
}

struct Lines<'a> {
    object: &'a Map<String, Value>,
    facts: Vec<Fact>,
}

impl Lines<'_> {
    fn number(&self, key: &str) -> Option<f64> {
        self.object.get(key)?.as_f64()
    }

    /// Counts as whole numbers, the rest as measured.
    fn text(&self, key: &str) -> Option<String> {
        let value = self.object.get(key)?;
        Some(if value.is_f64() { measured(value.as_f64()?) } else { number(value.as_f64()?) })
    }

    fn push(&mut self, label: &str, value: String, detail: String) {
        self.facts.push(Fact { label: label.into(), value, detail });
    }

    /// A number that the stage must have: "missing" where it is not.
    fn plain(&mut self, label: &str, key: &str, unit: &str) {
        match self.text(key) {
            Some(value) => self.push(label, value, unit.into()),
            None => self.push(label, "missing".into(), format!("no {key} in the run")),
        }
    }

    /// A number that may be absent.
    fn optional(&mut self, label: &str, key: &str, unit: &str) {
        if let Some(value) = self.text(key) {
            self.push(label, value, unit.into());
        }
    }

    /// A share in percent with its interval (`<key>_ci`) and further words. Absent and `required`: "missing".
    fn share(&mut self, label: &str, key: &str, detail: &str, required: bool) {
        let Some(value) = self.number(key) else {
            if required {
                self.push(label, "missing".into(), format!("no {key} in the run"));
            }
            return;
        };
        let interval = self.object.get(&format!("{key}_ci")).and_then(pair).map(|[a, b]| format!("[{}, {}]", percent(a), percent(b)));
        self.push(label, percent(value), [interval.as_deref().unwrap_or(""), detail].join(" ").trim().into());
    }

    /// Rows and steps that were not used, by cause: nothing is dropped in silence.
    fn left_out(&mut self) {
        let marks = ["rejected", "skipped", "truncated", "empty", "masked"];
        for (key, value) in self.object {
            if let Some(count) = value.as_f64().filter(|n| *n > 0.0 && marks.iter().any(|m| key.contains(m))) {
                self.push(&key.replace('_', " "), number(count), "left out".into());
            }
        }
    }

    fn language_model(&mut self, is_base: bool) {
        let first = self.number("first_eval_loss").map(|v| format!(", at first {}", measured(v))).unwrap_or_default();
        self.plain("validation loss", "eval_loss", &format!("nats a token{first}"));
        if is_base {
            self.plain("bits per byte", "bits_per_byte", "");
        } else {
            self.optional("bits per byte", "bits_per_byte", "");
        }
        self.optional("perplexity", "perplexity", "");
        self.optional("tokens", "tokens", "");
        self.optional("speed", "tokens_per_s", "tokens/s");
        self.optional("steps", "steps", "");
    }

    fn reward(&mut self) {
        let of = self.number("pairs").map(|n| format!("of {} unseen pairs", number(n))).unwrap_or_default();
        self.share("accuracy", "accuracy", &of, true);
        self.share("longer wins", "baseline_longer", "on the same pairs", true);
        self.share("shorter wins", "baseline_shorter", "on the same pairs", true);
        let of = self.number("judge_comparisons").map(|n| format!("of {} pairs of judgments", number(n))).unwrap_or_default();
        self.share("judges agree", "judge_agreement", &of, false);
        let of = self.number("majority_pairs").map(|n| format!("of {} pairs", number(n))).unwrap_or_default();
        self.share("accuracy, majority", "majority_accuracy", &of, false);
        self.plain("calibration error", "ece", "expected, 0 is perfect");
        self.optional("steps", "steps", "");
    }

    fn ppo(&mut self, comparison: Option<&Comparison>) {
        self.plain("reward, SFT", "reward_sft", "by the reward model (proxy)");
        self.plain("reward, policy", "reward_policy", "by the reward model (proxy)");
        self.plain("KL from SFT", "kl", "nats a response");
        self.share("win rate", "win_rate", "of the policy against SFT, by the reward model", true);
        let of = self.number("gold_pairs").map(|n| format!("of {} prompts", number(n))).unwrap_or_default();
        self.share("win rate, gold", "gold_win_rate", &format!("of the policy against SFT, by the true preference, {of}"), false);
        self.optional("score ~ gold", "score_gold_correlation", "correlation over all answers");
        self.share("answers that end", "eos_rate", "", false);
        if comparison.is_none() {
            self.optional("length, SFT", "length_sft", "tokens");
            self.optional("length, policy", "response_length", "tokens");
            self.optional("repetition, SFT", "repetition_sft", "share of repeated word 3-grams");
            self.optional("repetition, policy", "repetition_policy", "share of repeated word 3-grams");
        }
        for row in changes(self.object) {
            let interval = row.ci.map(|[a, b]| format!(" [{}, {}]", signed(a), signed(b))).unwrap_or_default();
            self.push(
                &row.name,
                format!("{} → {}", measured(row.sft), measured(row.policy)),
                format!("SFT → policy: {}{interval}", signed(row.difference)),
            );
        }
        self.optional("steps", "steps", "");
    }
}

/// A column of the samples: SFT's mean, the policy's mean, and the paired difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The column.
    pub name: String,
    /// Mean over the SFT model's answers.
    pub sft: f64,
    /// Mean over the policy's answers.
    pub policy: f64,
    /// Mean of policy − SFT over the prompts that both answered.
    pub difference: f64,
    /// Its bootstrap interval.
    pub ci: Option<[f64; 2]>,
}

/// The rows of the SFT-against-policy table; empty without samples of both.
pub fn changes(object: &Map<String, Value>) -> Vec<Change> {
    let mean = |model: &str, name: &str| object.get("means")?.get(model)?.get(name)?.as_f64();
    let differences = object.get("differences").and_then(Value::as_object);
    let rows = differences.into_iter().flatten().filter_map(|(name, d)| {
        Some(Change {
            name: name.clone(),
            sft: mean("sft", name)?,
            policy: mean("policy", name)?,
            difference: d.get("difference")?.as_f64()?,
            ci: d.get("ci").and_then(pair),
        })
    });
    rows.collect()
}

/// Two numbers out of a JSON list.
pub fn pair(value: &Value) -> Option<[f64; 2]> {
    Some([value.get(0)?.as_f64()?, value.get(1)?.as_f64()?])
}

/// A number as a person reads it: whole ones whole, others as [`measured`].
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 { thousands(value) } else { measured(value) }
}

/// A measured value: four significant digits, three decimals at most; a whole one keeps its decimals, so that columns compare.
pub fn measured(value: f64) -> String {
    let magnitude = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    let digits = match magnitude {
        m if m >= 10_000.0 => return thousands(value),
        m if m >= 1000.0 => 0,
        m if m >= 100.0 => 1,
        m if m >= 10.0 => 2,
        m if m >= 0.001 || m == 0.0 => 3,
        _ => return format!("{value:.2e}"),
    };
    format!("{value:.digits$}")
}

/// A whole number with commas from five digits on.
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 && digits.len() > 4 {
            out.push(',');
        }
        out.push(c);
    }
    if value < 0.0 && digits != "0" { format!("-{out}") } else { out }
}

/// A measured value with its sign.
pub fn signed(value: f64) -> String {
    if value > 0.0 { format!("+{}", measured(value)) } else { measured(value) }
}

/// Seconds as a person reads them.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        let cases = [
            (0.0, "0"),
            (12.0, "12"),
            (1234.0, "1234"),
            (1_234_567.2, "1,234,567"),
            (-20_000.4, "-20,000"),
            (0.12345, "0.123"),
            (12.345, "12.35"),
            (1.5e-5, "1.50e-5"),
            (999.96, "1000.0"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!((signed(0.5).as_str(), signed(-0.5).as_str(), percent(0.7123).as_str()), ("+0.500", "-0.500", "71.2%"));
        assert_eq!([measured(2.0), measured(0.0), measured(27.0), measured(1000.0)], ["2.000", "0.000", "27.00", "1000"]);
        assert_eq!([duration(9.96), duration(61.2), duration(3725.0)], ["10.0 s", "1 min 1 s", "1 h 2 min"]);
    }
}

//! The reward after each token of answers: `token-rewards.jsonl` of a run, and how it is drawn.

use super::ReportError;
use super::html::{escape, grid};
use super::read::read_bytes;
use super::svg::{Chart, Curve, Mark};
use super::tokens::{Coloured, largest, render};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file in a run folder.
pub const FILE: &str = "token-rewards.jsonl";

/// A text with the reward after each of its tokens: what the model would give if the text ended there.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenRewards {
    /// Whose answer it is.
    pub who: String,
    /// What was asked.
    pub prompt: String,
    /// The tokens' texts, the prompt's first.
    pub tokens: Vec<String>,
    /// The reward after each; the last one is the answer's.
    pub rewards: Vec<f64>,
    /// The first token of the answer.
    pub answer: usize,
}

impl TokenRewards {
    /// The answer's reward.
    pub fn reward(&self) -> f64 {
        self.rewards.last().copied().unwrap_or(f64::NAN)
    }

    /// The answer's tokens, coloured by what each adds to the reward.
    pub fn coloured(&self) -> Vec<Coloured> {
        let added = |i: usize| self.rewards[i] - if i == 0 { 0.0 } else { self.rewards[i - 1] };
        let one = |i: usize| Coloured {
            text: self.tokens[i].clone(),
            value: Some(added(i)),
            note: format!("reward {:.4} after it", self.rewards[i]),
        };
        (self.answer..self.tokens.len().min(self.rewards.len())).map(one).collect()
    }
}

/// Answers coloured by what their tokens add, on one scale, and the curves of their rewards.
pub fn draw(all: &[TokenRewards]) -> String {
    let coloured: Vec<Vec<Coloured>> = all.iter().map(TokenRewards::coloured).collect();
    let scale = largest(coloured.iter().flatten());
    let mut html = format!(
        "<p class=\"small\">Coloured by what a token adds to the reward: the first colour raises it, the second lowers it; the strongest is {scale:.3}. \
         The last token's reward is the answer's.</p>\n"
    );
    let mut charts = String::new();
    for (i, (of, tokens)) in all.iter().zip(&coloured).enumerate() {
        let who = if of.who.is_empty() { String::new() } else { format!(", {}", of.who) };
        let title = format!("Answer {}{who}", i + 1);
        html += &format!(
            "<div class=\"pair\"><div class=\"prompt\">{}</div><div class=\"sub\">{}, reward {:.4}</div>{}</div>\n",
            escape(&of.prompt),
            escape(&title),
            of.reward(),
            render(tokens, scale)
        );
        let points = of.rewards.iter().skip(of.answer).enumerate().map(|(t, reward)| ((t + 1) as f64, *reward)).collect();
        let curve = Curve { name: "reward".into(), points, mark: Mark::Line, colour: 1, notes: vec![] };
        let (x, y) = ("tokens of the answer".into(), "reward".into());
        charts += &Chart { title, x, y, curves: vec![curve], range: None, marks: vec![] }.render();
    }
    html + &grid("Reward as the answer grows", &charts)
}

/// The section of a run's page; nothing where the run has no such file. Lines that are none (a reward that is no number is written as null) are counted.
pub fn section(dir: &Path) -> Result<String, ReportError> {
    let text = read_bytes(&dir.join(FILE))?.unwrap_or_default();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    let all: Vec<TokenRewards> = lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    if lines.is_empty() {
        return Ok(String::new());
    }
    let left_out = match lines.len() - all.len() {
        0 => String::new(),
        n => format!(
            "<p class=\"small\">{n} of {} lines of {FILE} are left out: they are no tokens with a number after each.</p>\n",
            lines.len()
        ),
    };
    Ok(format!("<h2>Reward per token</h2>\n{left_out}{}", if all.is_empty() { String::new() } else { draw(&all) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_adds_sums_to_the_answers_reward() {
        let of = TokenRewards {
            who: "policy".into(),
            prompt: "a <b>?".into(),
            tokens: ["ask", "\n", "so", " it", "."].map(String::from).into(),
            rewards: vec![0.5, 1.0, 0.25, 2.0, 1.5],
            answer: 2,
        };
        let added: f64 = of.coloured().iter().filter_map(|t| t.value).sum();
        assert_eq!((added, of.reward()), (0.5, 1.5)); // from the reward after the prompt
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(section(dir.path()).unwrap(), "");
        let diverged = TokenRewards { rewards: vec![f64::NAN; 5], ..of.clone() };
        let lines = [&of, &diverged].map(|line| serde_json::to_string(line).unwrap()).join("\n");
        std::fs::write(dir.path().join(FILE), [lines.as_bytes(), b"\n{\"who\": \"\xc3"].concat()).unwrap();
        let html = section(dir.path()).unwrap();
        assert!(html.contains("Reward per token") && html.contains("a &lt;b&gt;?") && html.contains("Answer 1, policy"), "{html}");
        assert_eq!(html.matches("<span style").count(), 3);
        assert!(html.contains("2 of 3 lines of token-rewards.jsonl are left out"), "{html}");
    }
}

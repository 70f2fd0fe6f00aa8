//! A text whose tokens are coloured by a number: what an answer comes from, or what each token adds to the reward.

use super::html::escape;
use std::fmt::Write;

/// A token of a text and its number.
#[derive(Debug, Clone, PartialEq)]
pub struct Coloured {
    /// Its text.
    pub text: String,
    /// Above 0 the page's first colour, below 0 its second; the stronger the farther from 0. `None` is plain.
    pub value: Option<f64>,
    /// What is shown when one points at it, beside text and number.
    pub note: String,
}

/// The largest distance from 0, by which colours are scaled.
pub fn largest<'a>(tokens: impl IntoIterator<Item = &'a Coloured>) -> f64 {
    tokens.into_iter().filter_map(|t| t.value).map(f64::abs).filter(|v| v.is_finite()).fold(0.0, f64::max)
}

/// The text as a block; `scale` has the full colour.
pub fn render(tokens: &[Coloured], scale: f64) -> String {
    let mut html = String::from("<div class=\"answer tokens\">");
    for token in tokens {
        let text = escape(&token.text);
        let Some(value) = token.value else {
            html += &text;
            continue;
        };
        let share = if scale > 0.0 && value.is_finite() { (value.abs() / scale).min(1.0) } else { 0.0 };
        let colour = if value < 0.0 { "--c2" } else { "--c1" };
        let _ = write!(
            html,
            "<span style=\"background: color-mix(in srgb, var({colour}) {:.0}%, transparent)\" title=\"{} {value:+.4}{}{}\">{text}</span>",
            100.0 * share,
            escape(token.text.trim()),
            if token.note.is_empty() { "" } else { ", " },
            escape(&token.note)
        );
    }
    html + "</div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_coloured_by_sign_and_size_and_escaped() {
        let token = |text: &str, value| Coloured { text: text.into(), value, note: "n".into() };
        let tokens = [token("a<b", None), token(" up", Some(2.0)), token(" down", Some(-1.0)), token(" bad", Some(f64::NAN))];
        assert_eq!(largest(&tokens), 2.0);
        let html = render(&tokens, 2.0);
        assert!(html.contains("a&lt;b<span") && html.contains("var(--c1) 100%") && html.contains("var(--c2) 50%"), "{html}");
        assert!(html.contains("title=\"down -1.0000, n\"") && html.matches("<span").count() == 3);
    }
}

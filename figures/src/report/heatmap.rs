//! A table of shares as a picture: attention of tokens to tokens.

use super::html::escape;
use std::fmt::Write;

/// Side of a cell.
const CELL: f64 = 22.0;
/// Width of a character of the labels.
const CHARACTER: f64 = 7.0;
/// Characters of a label at most.
const LONGEST: usize = 12;

/// Values from 0 to 1 with named rows and columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Heatmap {
    /// Above it.
    pub title: String,
    /// Names of the rows, as many as `values` has.
    pub rows: Vec<String>,
    /// Names of the columns, as many as each row of `values` has.
    pub columns: Vec<String>,
    /// Row by row; the darker the greater.
    pub values: Vec<Vec<f64>>,
}

impl Heatmap {
    /// The picture as `<figure>`, or nothing where there is nothing to draw.
    pub fn render(&self) -> String {
        if self.rows.is_empty() || self.columns.is_empty() {
            return String::new();
        }
        let room = |names: &[String]| 8.0 + CHARACTER * names.iter().map(|n| wide(&short(n))).max().unwrap_or(0) as f64;
        let (left, top) = (room(&self.rows), room(&self.columns));
        let (width, height) = (left + CELL * self.columns.len() as f64 + 4.0, top + CELL * self.rows.len() as f64 + 4.0);
        let mut svg = format!("<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">", escape(&self.title));
        for (j, name) in self.columns.iter().enumerate() {
            let x = left + CELL * (j as f64 + 0.65);
            let at = format!("{x:.1} {:.1}", top - 4.0);
            let _ = write!(svg, "<text transform=\"translate({at}) rotate(-90)\">{}</text>", escape(&short(name)));
        }
        for (i, (name, values)) in self.rows.iter().zip(&self.values).enumerate() {
            let y = top + CELL * i as f64;
            let _ = write!(
                svg,
                "<text text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                left - 4.0,
                y + 0.65 * CELL,
                escape(&short(name))
            );
            for (j, value) in values.iter().enumerate() {
                let (x, side) = (left + CELL * j as f64, CELL - 1.0);
                let _ = write!(
                    svg,
                    "<rect class=\"f1\" fill-opacity=\"{:.3}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{side}\" height=\"{side}\"><title>{} to {}: {value:.3}</title></rect>",
                    value.clamp(0.0, 1.0),
                    escape(name),
                    escape(&self.columns[j]),
                );
            }
        }
        format!("<figure><figcaption>{}</figcaption>{svg}</svg></figure>\n", escape(&self.title))
    }
}

/// A label that fits.
fn short(name: &str) -> String {
    if name.chars().count() <= LONGEST { name.to_string() } else { name.chars().take(LONGEST - 1).chain(['…']).collect() }
}

/// Width in letters: Chinese characters have two.
fn wide(name: &str) -> usize {
    name.chars().map(|c| if c as u32 >= 0x2e80 { 2 } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_a_cell_and_words_are_escaped() {
        let map = Heatmap {
            title: "a & b".into(),
            rows: vec!["<x>".into(), "我".into()],
            columns: vec!["one".into(), "a very long name".into(), "three".into()],
            values: vec![vec![0.0, 0.25, 0.75], vec![2.0, 0.0, 0.0]],
        };
        let svg = map.render();
        assert_eq!((svg.matches("<rect").count(), svg.matches("<text").count()), (6, 5));
        assert!(svg.contains("a &amp; b") && svg.contains("&lt;x&gt; to one: 0.000") && !svg.contains("<x>"), "{svg}");
        assert!(svg.contains("a very long…") && svg.contains("fill-opacity=\"1.000\""));
        assert_eq!(Heatmap { rows: vec![], ..map }.render(), "");
    }
}

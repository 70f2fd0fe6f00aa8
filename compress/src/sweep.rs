//! What a smaller model costs: its loss on a text as bits, zeros and heads are taken away.

use crate::blocks::Format;
use crate::gguf;
use crate::prune::{self, Kept};
use anyhow::Result;
use evaluate::lm;
use evaluate::report::html::{FOOT, escape, grid, head};
use evaluate::report::svg::{Chart, Curve, Mark};
use model::Model;
use serde::Serialize;
use std::fmt::Write;

/// One variant of the model.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    /// What was done: a format's name, `magnitude` or `heads`.
    pub what: String,
    /// How much of it: bits a weight of the matrices, the share of zeros, or the share of heads.
    pub amount: f64,
    /// Bytes of the weights, stored so.
    pub bytes: u64,
    /// Nats a token on the text.
    pub loss: f64,
}

/// Shares of weights and heads that are taken away.
const SHARES: [f64; 8] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];

/// All variants, the untouched model first. The model is as before when this ends. `said` is called with each point as it comes.
pub fn sweep(model: &Model, ids: &[u32], said: &mut dyn FnMut(&Point)) -> Result<Vec<Point>> {
    let kept = Kept::of(model);
    let full: u64 = model.parameters().iter().map(|p| 4 * p.tensor.numel() as u64).sum();
    let mut points = Vec::new();
    let mut note = |what: &str, amount: f64, bytes: u64| -> Result<()> {
        let loss = lm::windowed(model, ids, &mut |_, _| {})?.nll.mean();
        let point = Point { what: what.into(), amount, bytes, loss };
        said(&point);
        points.push(point);
        kept.restore(model);
        Ok(())
    };
    for format in Format::ALL {
        gguf::round(model, format);
        let bits = format.bytes(256) as f64 * 8.0 / 256.0;
        note(format.name(), bits, gguf::stored(model, format))?;
    }
    for share in SHARES {
        prune::magnitude(model, share);
        note("magnitude", share, full)?;
    }
    let order = prune::heads_by_weight(model)?;
    for share in SHARES {
        let n = (share * order.len() as f64).round() as usize;
        prune::remove_heads(model, &order[..n])?;
        note("heads", n as f64 / order.len() as f64, full)?;
    }
    Ok(points)
}

/// A table for the terminal.
pub fn table(points: &[Point]) -> String {
    let first = points.first().map_or(f64::NAN, |p| p.loss);
    let mut out = format!("{:<10} {:>8} {:>10} {:>9} {:>9}\n", "what", "amount", "MB", "loss", "more");
    for p in points {
        let amount =
            if p.what == "magnitude" || p.what == "heads" { format!("{:.0}%", 100.0 * p.amount) } else { format!("{:.1} bit", p.amount) };
        let _ = writeln!(out, "{:<10} {amount:>8} {:>10.2} {:>9.4} {:>+9.4}", p.what, p.bytes as f64 / 1e6, p.loss, p.loss - first);
    }
    out
}

/// The same as a page.
pub fn page(title: &str, points: &[Point]) -> String {
    let of = |what: &str| points.iter().filter(|p| p.what == what).map(|p| (p.amount, p.loss)).collect::<Vec<_>>();
    let stored: Vec<(f64, f64)> =
        points.iter().filter(|p| !["magnitude", "heads"].contains(&p.what.as_str())).map(|p| (p.amount, p.loss)).collect();
    let whole = points.first().map(|p| (0.0, p.loss));
    let with_whole = |what: &str| whole.into_iter().chain(of(what)).collect::<Vec<_>>();
    let curve = |name: &str, mark, colour, points| Curve { name: name.into(), points, mark, colour, notes: vec![] };
    let chart = |title: &str, x: &str, curves| {
        Chart { title: title.into(), x: x.into(), y: "loss, nats a token".into(), curves, range: None, marks: vec![] }.render()
    };
    let mut drawn = chart("Loss over bits a weight", "bits", vec![curve("stored", Mark::Line, 1, stored)]);
    let pruned = vec![
        curve("smallest weights", Mark::Line, 1, with_whole("magnitude")),
        curve("attention heads", Mark::Line, 2, with_whole("heads")),
    ];
    drawn += &chart("Loss over what is taken away", "share set to zero", pruned);
    head(title) + &grid("What a smaller model costs", &drawn) + &format!("<pre>{}</pre>\n", escape(&table(points))) + FOOT
}

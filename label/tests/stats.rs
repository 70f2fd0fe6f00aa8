//! `label stats`: against references, on simulated judges, on people's judgments, and as a command.

#[path = "stats/command.rs"]
mod command;
#[path = "stats/golden.rs"]
mod golden;
#[path = "stats/parts.rs"]
mod parts;
#[path = "stats/people.rs"]
mod people;
#[path = "stats/simulate.rs"]
mod simulate;
#[path = "stats/simulated.rs"]
mod simulated;

use data::labels::Judgment;
use judges::panel::{Panel, Place};

/// A panel of rows.
fn panel(rows: &[Judgment]) -> Panel {
    let mut panel = Panel::default();
    rows.iter().enumerate().for_each(|(i, row)| panel.push(row, Place { table: 0, row: i as u64 }));
    panel
}

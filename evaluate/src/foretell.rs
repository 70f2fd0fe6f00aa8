//! `evaluate scaling`: laws of a ladder of pre-training runs, what they foretell, and what then came.

use crate::cli::ScalingArgs;
use crate::exit::input;
use evaluate::scaling::{self, Rung, Scaling};
use program::say;
use serde_json::json;
use std::fmt::Write;

/// Fits the laws and prints them.
pub fn run(args: &ScalingArgs) -> anyhow::Result<()> {
    let mut came = Vec::new();
    for folder in &args.against {
        let missing =
            || input(format!("{}: no finished pre-training run (summary.json with parameters, tokens and eval_loss)", folder.display()));
        came.push(scaling::rung(folder)?.ok_or_else(missing)?);
    }
    let mut rungs = scaling::ladder(&args.runs)?;
    rungs.retain(|rung| !came.iter().any(|c| c.name == rung.name)); // what is foretold must not be known
    let found = rungs.len();
    let sizes: Vec<f64> = args.predict.iter().copied().chain(came.iter().map(|r| r.parameters)).collect();
    let few = || {
        input(format!(
            "{}: {found} finished pre-training runs; a law of three numbers needs four of different size or more",
            args.runs.display()
        ))
    };
    let scaling = scaling::scaling(rungs, &sizes).ok_or_else(few)?;
    if let Some(path) = &args.html {
        let page = scaling::page("Scaling", &scaling, &came);
        std::fs::write(path, page).map_err(|e| input(format!("{}: cannot be written: {e}", path.display())))?;
    }
    if args.json {
        say!("{}", json!({ "scaling": scaling, "against": came }));
    } else {
        program::text(table(&scaling, &came));
    }
    Ok(())
}

fn table(scaling: &Scaling, came: &[Rung]) -> String {
    let mut text = String::from("run                          weights        tokens     loss     L(N)\n");
    for r in &scaling.rungs {
        let law = scaling.of_parameters.at(r.parameters);
        let _ = writeln!(text, "{:<24} {:>11.0} {:>13.0} {:>8.4} {law:>8.4}", r.name, r.parameters, r.tokens, r.loss);
    }
    let law = |name: &str, l: scaling::Law| {
        format!(
            "{name} = {:.4} + {:.4e} x^-{:.4}   (root mean square of log residuals {:.5})\n",
            l.irreducible, l.scale, l.exponent, l.residual
        )
    };
    text += &law("L(N)", scaling.of_parameters);
    text += &scaling.of_compute.map(|l| law("L(C)", l)).unwrap_or_default();
    for (i, p) in scaling.by_parameters.iter().enumerate() {
        let _ = writeln!(text, "{:.0} weights: L(N) foretells {:.4}, 95% {:.4} to {:.4}", p.x, p.loss, p.interval[0], p.interval[1]);
        if let Some(c) = scaling.by_compute.get(i) {
            let _ = writeln!(
                text,
                "  with {:.3e} operations L(C) foretells {:.4}, 95% {:.4} to {:.4}",
                c.x, c.loss, c.interval[0], c.interval[1]
            );
        }
        if let Some(run) = came.iter().find(|r| r.parameters == p.x) {
            let inside = (p.interval[0]..=p.interval[1]).contains(&run.loss);
            let _ = writeln!(
                text,
                "  {} came to {:.4}: {} the interval, {:+.2}%",
                run.name,
                run.loss,
                if inside { "inside" } else { "outside" },
                100.0 * (run.loss / p.loss - 1.0)
            );
        }
    }
    text
}

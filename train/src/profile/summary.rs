//! What a profile's events say: time by phase and operator, memory taken, arithmetic done.

use native::{Event, EventKind};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Kinds of operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Products of matrices.
    Products,
    /// Scaled dot-product attention.
    Attention,
    /// The optimiser and clipping.
    Optimiser,
    /// Copies and conversions between precisions.
    Copies,
    /// Everything else: norms, activations, sums, look-ups.
    Elementwise,
    /// Between the operators: our own code and libtorch's bookkeeping.
    Between,
}

impl Group {
    const ALL: [Group; 6] = [Group::Products, Group::Attention, Group::Optimiser, Group::Copies, Group::Elementwise, Group::Between];

    fn name(self) -> &'static str {
        match self {
            Group::Products => "products",
            Group::Attention => "attention",
            Group::Optimiser => "optimiser",
            Group::Copies => "copies",
            Group::Elementwise => "element-wise",
            Group::Between => "between",
        }
    }

    fn of(operator: &str) -> Group {
        let name = operator.strip_prefix("aten::").unwrap_or(operator);
        if !operator.contains("::") || operator.contains("autograd::") {
            Group::Between // steps of the backward pass, as which operators are called
        } else if name.contains("attention") {
            Group::Attention
        } else if name.starts_with("_fused_adam") || name.starts_with("_foreach") {
            Group::Optimiser
        } else if ["mm", "addmm", "addmm_", "bmm", "baddbmm", "linear", "matmul", "dot", "mkldnn_linear"].contains(&name) {
            Group::Products
        } else if ["copy_", "to", "_to_copy", "clone", "contiguous", "cat"].contains(&name) {
            Group::Copies
        } else {
            Group::Elementwise
        }
    }
}

/// Of one phase or operator, a step.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Spent {
    /// Milliseconds: of a phase all its own, of an operator without the operators that it calls.
    pub ms: f64,
    /// Calls (of operators at any depth, for a phase).
    pub calls: f64,
    /// Mebibytes of tensor memory taken.
    pub mib: f64,
    /// Billions of floating-point operations, of matrix products alone.
    pub gflop: f64,
}

/// Where a step's time goes: what happens inside phases, not the evaluations and checkpoints between steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Steps recorded.
    pub steps: u64,
    /// Milliseconds a step inside phases.
    pub ms: f64,
    /// Operator calls a step.
    pub operator_calls: f64,
    /// Mebibytes of tensor memory taken a step.
    pub mib: f64,
    /// Most mebibytes of tensor memory held above what was held as the profile began.
    pub peak_mib: f64,
    /// Billions of floating-point operations a step, of matrix products alone.
    pub gflop: f64,
    /// By phase.
    pub phases: BTreeMap<String, Spent>,
    /// Milliseconds a step by kind of operator.
    pub groups: BTreeMap<Group, f64>,
    /// By operator.
    pub operators: BTreeMap<String, Spent>,
}

/// Phases, which follow one another, and what happens in each.
struct Phases<'a>(Vec<&'a Event>);

impl Phases<'_> {
    /// The phase in which something begins.
    fn of(&self, start_ns: u64) -> Option<&Event> {
        let after = self.0.partition_point(|p| p.start_ns <= start_ns);
        self.0[..after].last().copied().filter(|p| start_ns < p.start_ns + p.duration_ns)
    }
}

impl Summary {
    /// Of the events of `steps` steps.
    pub fn new(events: &[Event], steps: u64) -> Summary {
        let per_step = 1.0 / steps.max(1) as f64;
        let of_kind = |kind: EventKind| {
            let mut list: Vec<&Event> = events.iter().filter(|e| e.kind == kind).collect();
            list.sort_by_key(|e| (e.start_ns, std::cmp::Reverse(e.duration_ns)));
            list
        };
        let phases = Phases(of_kind(EventKind::Range));
        let mut s = Summary {
            steps,
            ms: 0.0,
            operator_calls: 0.0,
            mib: 0.0,
            peak_mib: 0.0,
            gflop: 0.0,
            phases: BTreeMap::new(),
            groups: Group::ALL.into_iter().map(|g| (g, 0.0)).collect(),
            operators: BTreeMap::new(),
        };
        let ms = |ns: u64| ns as f64 / 1e6 * per_step;
        for phase in &phases.0 {
            s.phases.entry(phase.name.clone()).or_default().ms += ms(phase.duration_ns);
            *s.groups.entry(Group::Between).or_default() += ms(phase.duration_ns);
            s.ms += ms(phase.duration_ns);
        }
        let operators = of_kind(EventKind::Operator);
        for (event, own_ns, outermost) in own_time(&operators) {
            let Some(phase) = phases.of(event.start_ns) else { continue };
            let group = Group::of(&event.name);
            *s.groups.entry(group).or_default() += ms(own_ns);
            if outermost {
                *s.groups.entry(Group::Between).or_default() -= ms(event.duration_ns);
            }
            if group == Group::Between {
                continue;
            }
            let gflop = event.flops as f64 / 1e9 * per_step;
            let operator = s.operators.entry(event.name.clone()).or_default();
            operator.ms += ms(own_ns);
            for spent in [operator, s.phases.entry(phase.name.clone()).or_default()] {
                spent.calls += per_step;
                spent.gflop += gflop;
            }
            s.operator_calls += per_step;
            s.gflop += gflop;
        }
        let (mut held, mut peak) = (0i64, 0i64);
        for event in of_kind(EventKind::Memory) {
            held += event.bytes;
            peak = peak.max(held);
            if let Some(phase) = phases.of(event.start_ns).filter(|_| event.bytes > 0) {
                let mib = event.bytes as f64 / f64::from(1 << 20) * per_step;
                s.mib += mib;
                s.phases.entry(phase.name.clone()).or_default().mib += mib;
            }
        }
        s.peak_mib = peak as f64 / f64::from(1 << 20);
        s
    }
}

/// Every operator call with the nanoseconds that no call within it accounts for, and whether no other call is around it. `operators` are sorted by
/// their begin, an outer call before the calls within.
fn own_time<'a>(operators: &[&'a Event]) -> Vec<(&'a Event, u64, bool)> {
    let mut out: Vec<(&Event, u64, bool)> = Vec::with_capacity(operators.len());
    let mut open: BTreeMap<u64, Vec<usize>> = BTreeMap::new(); // by thread
    for event in operators {
        let stack = open.entry(event.thread).or_default();
        while stack.last().is_some_and(|&at| out[at].0.start_ns + out[at].0.duration_ns <= event.start_ns) {
            stack.pop();
        }
        if let Some(&outer) = stack.last() {
            out[outer].1 = out[outer].1.saturating_sub(event.duration_ns);
        }
        let outermost = stack.is_empty();
        stack.push(out.len());
        out.push((event, event.duration_ns, outermost));
    }
    out
}

/// Operators shown in the table.
const SHOWN: usize = 20;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |ms: f64| 100.0 * ms / self.ms.max(f64::MIN_POSITIVE);
        let row = |f: &mut fmt::Formatter<'_>, name: &str, spent: &Spent| {
            let rate = if spent.gflop > 0.0 && spent.ms > 0.0 { format!("{:.1}", spent.gflop / spent.ms * 1e3) } else { String::new() };
            let mib = if spent.mib > 0.0 { format!("{:.1}", spent.mib) } else { String::new() };
            writeln!(f, "{name:<44} {:>9.2} {:>6.1}% {:>8.1} {mib:>9} {rate:>8}", spent.ms, share(spent.ms), spent.calls)
        };
        writeln!(
            f,
            "{:.2} ms a step in phases (mean of {}), {:.0} operator calls, {:.1} MiB taken, {:.1} MiB held at most, {:.2} GFLOP of products",
            self.ms, self.steps, self.operator_calls, self.mib, self.peak_mib, self.gflop
        )?;
        writeln!(f, "\n{:<44} {:>9} {:>7} {:>8} {:>9} {:>8}", "phase", "ms", "share", "calls", "MiB", "GFLOP/s")?;
        for (name, spent) in by_time(&self.phases) {
            row(f, name, spent)?;
        }
        writeln!(f, "\n{:<44} {:>9} {:>7}", "kind of operator", "ms", "share")?;
        for (group, ms) in &self.groups {
            writeln!(f, "{:<44} {ms:>9.2} {:>6.1}%", group.name(), share(*ms))?;
        }
        writeln!(f, "\n{:<44} {:>9} {:>7} {:>8} {:>9} {:>8}", "operator (own time)", "ms", "share", "calls", "", "GFLOP/s")?;
        for (name, spent) in by_time(&self.operators).into_iter().take(SHOWN) {
            row(f, name, spent)?;
        }
        Ok(())
    }
}

fn by_time(map: &BTreeMap<String, Spent>) -> Vec<(&String, &Spent)> {
    let mut list: Vec<_> = map.iter().collect();
    list.sort_by(|a, b| b.1.ms.total_cmp(&a.1.ms));
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, kind: EventKind, start_ns: u64, duration_ns: u64, bytes: i64) -> Event {
        Event {
            name: name.into(),
            kind,
            start_ns,
            duration_ns,
            thread: 1,
            flops: if name == "aten::mm" { 2_000_000_000 } else { 0 },
            bytes,
        }
    }

    #[test]
    fn time_is_counted_once_and_memory_by_phase() {
        const MS: u64 = 1_000_000;
        let events = [
            event("forward", EventKind::Range, 0, 10 * MS, 0),
            event("aten::linear", EventKind::Operator, MS, 6 * MS, 0),
            event("aten::mm", EventKind::Operator, 2 * MS, 4 * MS, 0),
            event("aten::gelu", EventKind::Operator, 7 * MS, 2 * MS, 0),
            event("backward", EventKind::Range, 10 * MS, 4 * MS, 0),
            event("aten::mm", EventKind::Operator, 10 * MS, 4 * MS, 0),
            event("", EventKind::Memory, 3 * MS, 0, 3 << 20),
            event("", EventKind::Memory, 9 * MS, 0, -(2 << 20)),
            event("", EventKind::Memory, 11 * MS, 0, 1 << 20),
        ];
        let s = Summary::new(&events, 2);
        assert_eq!((s.ms, s.operator_calls, s.mib, s.peak_mib, s.gflop), (7.0, 2.0, 2.0, 3.0, 2.0));
        assert_eq!(s.phases["forward"], Spent { ms: 5.0, calls: 1.5, mib: 1.5, gflop: 1.0 });
        assert_eq!(s.operators["aten::linear"].ms, 1.0, "without the product it calls");
        assert_eq!(s.groups[&Group::Products], 5.0);
        assert_eq!(s.groups[&Group::Elementwise], 1.0);
        assert_eq!(s.groups[&Group::Between], 1.0, "of 10 + 4 ms, 6 + 2 + 4 are inside operators");
        let table = s.to_string();
        assert!(table.contains("forward") && table.contains("aten::mm"), "{table}");
    }
}

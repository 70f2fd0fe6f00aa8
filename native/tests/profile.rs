//! The profiler sees what was done while it ran, and nothing else.

use native::{EventKind, Profiler, Range};
use tch::{Device, Kind, Tensor};

#[test]
fn operators_ranges_memory_and_arithmetic_are_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace.json");
    let ones = |rows, columns| Tensor::ones([rows, columns], (Kind::Float, Device::Cpu));
    let (a, b) = (ones(64, 32).set_requires_grad(true), ones(32, 16));
    let product = |name| {
        let _range = Range::new(name);
        a.mm(&b)
    };
    drop(product(c"before"));
    let profiler = Profiler::start(false).unwrap();
    let y = product(c"product");
    y.sum(Kind::Float).backward();
    let events = profiler.stop(Some(&trace)).unwrap();
    drop(product(c"after"));

    let named = |name: &str| events.iter().filter(|e| e.name == name).collect::<Vec<_>>();
    let products = named("aten::mm");
    assert_eq!(products.len(), 2, "forward and the gradient of a");
    assert!(products.iter().all(|e| e.kind == EventKind::Operator && e.flops == 2 * 64 * 32 * 16), "{products:?}");
    let ranges = named("product");
    assert_eq!((ranges.len(), ranges[0].kind), (1, EventKind::Range));
    let (start, end) = (ranges[0].start_ns, ranges[0].start_ns + ranges[0].duration_ns);
    assert!(start <= products[0].start_ns && products[0].start_ns + products[0].duration_ns <= end);
    assert!(events.iter().any(|e| e.kind == EventKind::Memory && e.bytes == 64 * 16 * 4), "the product's result");
    assert!(named("before").is_empty() && named("after").is_empty());
    let text = std::fs::read_to_string(&trace).unwrap();
    assert!(text.contains("traceEvents") && text.contains("aten::mm"));
    Profiler::start(false).unwrap().stop(None).unwrap(); // once more in the same process
}

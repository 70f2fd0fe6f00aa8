//! Drawing one token, against the definitions written out slowly.

use model::sample::{Filter, draw, greedy, uniform};

/// Positive numbers that do not sum to 1, some of them equal.
fn weights(case: u64) -> Vec<f32> {
    (0..23).map(|i| ((uniform(case, i, 9) * 12.0).floor() / 10.0 + 0.01) as f32).collect()
}

/// The candidates by definition: sort by weight (by id among equals), cut after k, cut once the share p is reached.
fn allowed(w: &[f32], f: Filter) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..w.len() as u32).collect();
    ids.sort_by(|a, b| w[*b as usize].total_cmp(&w[*a as usize]).then(a.cmp(b)));
    if f.top_k > 0 {
        ids.truncate(f.top_k);
    }
    let total: f64 = ids.iter().map(|&i| f64::from(w[i as usize])).sum();
    let (mut sum, mut kept) = (0.0, vec![]);
    for id in ids {
        if f.top_p < 1.0 && sum >= f.top_p * total {
            break;
        }
        sum += f64::from(w[id as usize]);
        kept.push(id);
    }
    kept
}

#[test]
fn shares_are_those_of_the_allowed_tokens() {
    const N: u64 = 4000;
    for (case, (top_k, top_p)) in (0..).zip([(0, 1.0), (1, 1.0), (5, 1.0), (23, 1.0), (99, 1.0), (0, 0.3), (0, 0.9), (0, 1e-6), (8, 0.7)]) {
        let (w, filter) = (weights(case), Filter { top_k, top_p });
        let kept = allowed(&w, filter);
        let total: f64 = kept.iter().map(|&i| f64::from(w[i as usize])).sum();
        let mut counts = vec![0u64; w.len()];
        for i in 0..N {
            let u = (i as f64 + 0.5) / N as f64; // evenly spread: counts follow shares to within one at each border
            counts[draw(&mut w.clone(), filter, &[], u, &mut vec![]) as usize] += 1;
        }
        for (id, &count) in counts.iter().enumerate() {
            let share = if kept.contains(&(id as u32)) { f64::from(w[id]) / total } else { 0.0 };
            assert!((count as f64 - share * N as f64).abs() <= 1.01, "top_k {top_k}, top_p {top_p}, token {id}: {count}, share {share}");
        }
    }
}

#[test]
fn banned_tokens_have_no_share() {
    for filter in [Filter { top_k: 0, top_p: 1.0 }, Filter { top_k: 3, top_p: 0.9 }] {
        for i in 0..200 {
            let mut w = weights(i);
            let best = greedy(&w, &[]);
            assert_ne!(greedy(&w, &[best]), best);
            assert_ne!(draw(&mut w, filter, &[best], uniform(1, i, 0), &mut vec![]), best);
        }
    }
}

#[test]
fn edges_of_the_unit_interval() {
    let all = Filter { top_k: 0, top_p: 1.0 };
    let mut w = vec![0.0, 0.5, 0.0, 0.5, 0.0];
    assert_eq!(draw(&mut w, all, &[], 0.0, &mut vec![]), 1, "a token without a share is never drawn");
    assert_eq!(draw(&mut w, all, &[], 1.0 - f64::EPSILON, &mut vec![]), 3);
    assert_eq!(greedy(&[f32::NAN, 1.0, 2.0, 2.0], &[]), 2, "the first of equals, and no NaN");
}

#[test]
fn uniform_numbers_look_uniform_and_independent() {
    for (seed, by_row) in [(0, true), (1, false), (u64::MAX, true)] {
        let x: Vec<f64> = (0..20_000).map(|i| if by_row { uniform(seed, i, 3) } else { uniform(seed, 3, i) }).collect();
        assert!(x.iter().all(|u| (0.0..1.0).contains(u)));
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let neighbours = x.windows(2).map(|p| (p[0] - 0.5) * (p[1] - 0.5)).sum::<f64>() / x.len() as f64 * 12.0;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!(neighbours.abs() < 0.03, "{neighbours}");
    }
    assert_ne!(uniform(1, 2, 3), uniform(2, 1, 3));
    assert_ne!(uniform(1, 2, 3), uniform(1, 3, 2));
}

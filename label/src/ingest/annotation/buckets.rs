//! The order that a Ranker's value stands for.
//!
//! | value | meaning |
//! |---|---|
//! | `{"ranker": {NAME: [ids]}}`, NAME the control's own | no buckets: the ids from best to worst |
//! | `{"ranker": [ids]}` (older) | the same |
//! | `{"items": [ids], "weights": [...]}` (oldest) | the ids from best to worst, the weights are scores |
//! | `{"ranker": {bucket: [ids], ...}}` | buckets: a rank each, ties within; `_` is what stayed in the list |
//!
//! Within a bucket nobody asked for an order, so its items are tied. Which bucket is better is told by its name (or `--buckets`), never by its
//! place in the file: PostgreSQL's jsonb sorts the names anew.

use data::rankings::ranks_of;
use serde_json::{Map, Value};

/// Bucket of the items that were not moved.
const REST: &str = "_";

/// Names of buckets that need no order from the user, worst to best. The rest of the list lies in the middle.
const KNOWN: [&[&str]; 5] = [
    &["worst", "terrible", "very bad", "harmful"],
    &["bad", "poor", "rejected", "reject", "irrelevant", "incorrect", "wrong", "dislike", "loser", "ads", "spam", "biased", "discard"],
    &[REST, "ok", "okay", "neutral", "medium", "average", "fair", "maybe", "acceptable"],
    &["good", "chosen", "preferred", "accepted", "accept", "relevant", "correct", "like", "winner", "selected"],
    &["best", "excellent", "top", "very good", "great", "perfect"],
];

/// Ids in the order of their ranks, with the ranks and (where the value has them) scores.
#[derive(Debug, PartialEq)]
pub struct Order {
    /// The ranked items.
    pub ids: Vec<String>,
    /// Rank of each: 1 is best, ties share one.
    pub ranks: Vec<u32>,
    /// Score of each.
    pub scores: Option<Vec<f32>>,
}

/// Reads a Ranker's value. `control` is its name, `all` the ids of the list, `buckets` the user's order from best to worst.
pub fn order(value: &Map<String, Value>, control: &str, all: &[String], buckets: &[String]) -> Result<Order, String> {
    if let Some(items) = value.get("items") {
        let ids = list(items)?;
        let weights = value.get("weights").and_then(Value::as_array);
        let scores = weights.map(|w| w.iter().map(|x| x.as_f64().map(|x| x as f32)).collect::<Option<Vec<f32>>>());
        let scores = scores.flatten().filter(|scores| scores.len() == ids.len());
        return once(Order { ranks: (1..=ids.len() as u32).collect(), ids, scores });
    }
    match value.get("ranker") {
        Some(Value::Array(_)) => in_order(&value["ranker"]),
        Some(Value::Object(groups)) if groups.len() == 1 && groups.contains_key(control) => in_order(&groups[control]),
        Some(Value::Object(groups)) => bucketed(groups, all, buckets),
        _ => Err("a ranker without `ranker` or `items`".to_string()),
    }
}

fn in_order(ids: &Value) -> Result<Order, String> {
    let ids = list(ids)?;
    once(Order { ranks: (1..=ids.len() as u32).collect(), ids, scores: None })
}

fn bucketed(groups: &Map<String, Value>, all: &[String], buckets: &[String]) -> Result<Order, String> {
    let mut groups: Vec<(String, Vec<String>)> =
        groups.iter().map(|(name, ids)| Ok((name.clone(), list(ids)?))).collect::<Result<_, String>>()?;
    // Older versions leave out what was not moved.
    let moved = |id: &String| groups.iter().any(|(_, ids)| ids.contains(id));
    let rest: Vec<String> = all.iter().filter(|id| !moved(id)).cloned().collect();
    if !rest.is_empty() {
        match groups.iter_mut().find(|(name, _)| name == REST) {
            Some((_, ids)) => ids.extend(rest),
            None => groups.push((REST.to_string(), rest)),
        }
    }
    groups.retain(|(_, ids)| !ids.is_empty());
    let names: Vec<&str> = groups.iter().map(|(name, _)| name.as_str()).collect();
    let worth = worths(&names, buckets)?;
    let (mut ids, mut scores) = (Vec::new(), Vec::new());
    for ((_, bucket), worth) in groups.into_iter().zip(worth) {
        scores.extend(bucket.iter().map(|_| worth));
        ids.extend(bucket);
    }
    once(Order { ids, ranks: ranks_of(&scores), scores: None })
}

/// How good each bucket is; only the order counts.
fn worths(names: &[&str], buckets: &[String]) -> Result<Vec<f32>, String> {
    let unknown = |why: String| format!("{why}: say the order with --buckets, from best to worst, such as --buckets best,_,rejected");
    if !buckets.is_empty() {
        let place = |name: &&str| buckets.iter().position(|b| b == name).map(|at| -(at as f32));
        return names.iter().map(|name| place(name).ok_or_else(|| unknown(format!("the bucket {name:?} is not in --buckets")))).collect();
    }
    let plain = |name: &str| {
        let name = name.to_ascii_lowercase().replace(['-', ' '], "_");
        let ends = ["_results", "_answers", "_responses", "_items", "_bucket"];
        let name = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        if name == REST { name.to_string() } else { name.replace('_', " ") }
    };
    let known = |name: &&str| KNOWN.iter().position(|words| words.contains(&plain(name).as_str())).map(|at| at as f32);
    let worths = names.iter().map(known).collect::<Option<Vec<f32>>>().or_else(|| numbered(names));
    let worths = worths.ok_or_else(|| unknown(format!("which of the buckets {} is better cannot be told by name", names.join(", "))))?;
    let mut distinct = worths.clone();
    distinct.sort_by(f32::total_cmp);
    distinct.dedup();
    if distinct.len() < worths.len() {
        return Err(unknown(format!("which of the buckets {} is better cannot be told by name", names.join(", "))));
    }
    Ok(worths)
}

/// `rank_1`, `tier 2`, `3`: the first is best, unless the name speaks of scores. What was not moved comes last.
fn numbered(names: &[&str]) -> Option<Vec<f32>> {
    let number = |name: &&str| {
        if *name == REST {
            return Some(f32::NEG_INFINITY);
        }
        let (stem, number) = super::layout::marked(name)?;
        let more_is_better = ["score", "star", "rating", "point"].iter().any(|word| stem.contains(word));
        Some(if more_is_better { number as f32 } else { -(number as f32) })
    };
    names.iter().map(number).collect()
}

fn list(ids: &Value) -> Result<Vec<String>, String> {
    let ids = ids.as_array().ok_or("the ranked ids are not a list")?;
    ids.iter().map(|id| crate::ingest::values::name(id).ok_or_else(|| format!("{id} is no id"))).collect()
}

/// No item has two places.
fn once(order: Order) -> Result<Order, String> {
    let mut ids: Vec<&String> = order.ids.iter().collect();
    ids.sort();
    match ids.windows(2).find(|two| two[0] == two[1]) {
        Some(two) => Err(format!("{:?} is ranked twice", two[0])),
        None => Ok(order),
    }
}

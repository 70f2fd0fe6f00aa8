//! Items as tasks: what a labeller sees, and how a task finds its item again.
//!
//! A task's `data` holds the conversation, the answers in an order drawn from the item's key, and the key; nothing of who wrote them or what a reward
//! model thinks of them. Ids of answers are hashes, so they give nothing away either. `meta` repeats key and ids. Authors stay in the table of items,
//! where [`Items`] looks them up.

use clap::ValueEnum;
use data::error::DataError;
use data::labels::table::LabelTable;
use data::labels::{Judgment, Kind, flag, item_key};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// How labellers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// All answers of an item in one list that is put into order.
    Ranker,
    /// Two answers at a time, one of which is better; an item of K answers becomes K (K − 1) / 2 tasks.
    Pairwise,
    /// Two at a time, with "equally good" and "both are bad" as answers too.
    PairwiseTies,
}

/// The label that says that no answer is good.
const NONE_IS_GOOD: &str = "Both are bad";

impl Form {
    /// The labelling configuration; `buckets` (for a Ranker) are places in which answers may be tied, from 1, the best.
    pub fn config(self, buckets: usize) -> String {
        let turns = r#"  <Paragraphs name="messages" value="$messages" nameKey="role" textKey="content" layout="dialogue"/>"#;
        let comment = r#"  <TextArea name="comment" toName="messages" rows="2" maxSubmissions="1" placeholder="Comment (optional)"/>"#;
        let two = r#"  <View style="display: grid; grid-template: auto/1fr 1fr; column-gap: 1em">
    <Text name="answer1" value="$answer1"/>
    <Text name="answer2" value="$answer2"/>
  </View>"#;
        let control = match self {
            Form::Ranker => {
                let bucket = |i| match i {
                    1 => r#"    <Bucket name="1" title="1 (best)"/>"#.to_string(),
                    _ => format!(r#"    <Bucket name="{i}" title="{i}"/>"#),
                };
                let inner: Vec<String> = (1..=buckets).map(bucket).collect();
                let (open, title) = match buckets {
                    0 => ("  <Ranker name=\"ranking\" toName=\"answers\"/>".to_string(), "Best at the top"),
                    _ => (format!("  <Ranker name=\"ranking\" toName=\"answers\">\n{}\n  </Ranker>", inner.join("\n")), "Answers"),
                };
                format!("  <List name=\"answers\" value=\"$answers\" title=\"{title}\"/>\n{open}")
            }
            Form::Pairwise => format!("{two}\n  <Pairwise name=\"better\" toName=\"answer1,answer2\"/>"),
            Form::PairwiseTies => {
                let labels = ["Left is better", "Right is better", "Equally good", NONE_IS_GOOD];
                let choices = labels.map(|label| format!("    <Choice value=\"{label}\"/>")).join("\n");
                let open = r#"  <Choices name="better" toName="messages" choice="single" required="true" showInline="true">"#;
                format!("{two}\n{open}\n{choices}\n  </Choices>")
            }
        };
        format!("<View>\n{turns}\n{control}\n{comment}\n</View>\n")
    }

    /// The fields of `data` that a labelling configuration must show to be one for this form.
    pub fn needs(self) -> &'static [&'static str] {
        match self {
            Form::Ranker => &["$messages", "$answers"],
            Form::Pairwise | Form::PairwiseTies => &["$messages", "$answer1", "$answer2"],
        }
    }
}

/// The open items of a table by key: those of all answers, and of each pair of them.
pub struct Items {
    /// In the order of the table: the items to push.
    pub open: Vec<Judgment>,
    /// Rows of other kinds, or with fewer than two answers.
    pub skipped: u64,
    /// Items that stood there before.
    pub repeated: u64,
    places: HashMap<String, Found>,
}

/// An item, or two of its answers.
enum Found {
    Whole(usize),
    Pair(usize, [usize; 2]),
}

impl Items {
    /// Reads the table.
    pub fn read(path: &Path) -> Result<Items, DataError> {
        let mut items = Items { open: vec![], skipped: 0, repeated: 0, places: HashMap::new() };
        for row in LabelTable::open(path)?.iter() {
            let row = row?;
            // Gold rows are items with their order known; labellers must not see the difference.
            let to_show = row.kind == Kind::Open || row.has(flag::GOLD);
            if !to_show || row.answers.len() < 2 {
                items.skipped += 1;
            } else if items.places.contains_key(&item_key(&row.prompt, &row.answers)) {
                items.repeated += 1;
            } else {
                items.places.insert(item_key(&row.prompt, &row.answers), Found::Whole(items.open.len()));
                items.open.push(row);
            }
        }
        for (at, row) in items.open.iter().enumerate() {
            for (i, j) in pairs(row.answers.len()) {
                let key = item_key(&row.prompt, &[row.answers[i].clone(), row.answers[j].clone()]);
                items.places.entry(key).or_insert(Found::Pair(at, [i, j]));
            }
        }
        Ok(items)
    }

    /// The tasks of all items in a form, each with its key.
    pub fn tasks(&self, form: Form) -> Vec<(String, Value)> {
        let whole = |item: &Judgment| vec![task(item, form)];
        let split = |item: &Judgment| pairs(item.answers.len()).map(|(i, j)| task(&pick(item, &[i, j]), form)).collect();
        match form {
            Form::Ranker => self.open.iter().flat_map(whole).collect(),
            Form::Pairwise | Form::PairwiseTies => self.open.iter().flat_map(|item| -> Vec<_> { split(item) }).collect(),
        }
    }

    /// The item of a task with this key, its answers those of the task.
    pub fn find(&self, key: &str) -> Option<Judgment> {
        match self.places.get(key)? {
            Found::Whole(at) => Some(self.open[*at].clone()),
            Found::Pair(at, two) => Some(pick(&self.open[*at], two)),
        }
    }
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

/// An item with some of its answers.
fn pick(item: &Judgment, answers: &[usize]) -> Judgment {
    let texts: Vec<String> = answers.iter().map(|&i| item.answers[i].clone()).collect();
    Judgment {
        authors: item.authors.as_ref().map(|a| answers.iter().map(|&i| a[i].clone()).collect()),
        scores: item.scores.as_ref().map(|s| answers.iter().map(|&i| s[i]).collect()),
        item: item_key(&item.prompt, &texts),
        answers: texts,
        ranks: None,
        shown: None,
        worth: None,
        ..item.clone()
    }
}

fn task(item: &Judgment, form: Form) -> (String, Value) {
    let key = item_key(&item.prompt, &item.answers);
    let mut answers: Vec<(String, &str)> = item.answers.iter().enumerate().map(|(i, text)| (id(&key, i, text), text.as_str())).collect();
    answers.sort(); // hashes: an order by chance that is the same at every push
    let ids: Vec<&str> = answers.iter().map(|(id, _)| id.as_str()).collect();
    let messages: Vec<Value> = item.prompt.iter().map(|turn| json!({ "role": turn.role, "content": turn.content })).collect();
    let data = match form {
        Form::Ranker => {
            let list: Vec<Value> =
                answers.iter().enumerate().map(|(i, (id, text))| json!({ "id": id, "title": letter(i), "body": text })).collect();
            json!({ "item": key, "messages": messages, "answers": list })
        }
        Form::Pairwise | Form::PairwiseTies => {
            json!({ "item": key, "messages": messages, "answer1": answers[0].1, "answer2": answers[1].1 })
        }
    };
    let task = json!({ "data": data, "meta": { "item": key, "answers": ids } });
    (key, task)
}

/// The id of an answer within its task.
fn id(key: &str, place: usize, text: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.as_bytes()).update(&(place as u64).to_le_bytes()).update(text.as_bytes());
    hasher.finalize().to_hex()[..12].to_string()
}

/// What answers are called on the page: A, B, ... Z, then numbers.
fn letter(i: usize) -> String {
    char::from_digit(i as u32 + 10, 36).map_or_else(|| (i + 1).to_string(), |c| c.to_ascii_uppercase().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::chat::Message;
    use data::labels::table::write_table;

    fn item(prompt: &str, answers: &[&str]) -> Judgment {
        let mut item = Judgment::new(Kind::Open, vec![Message::new("user", prompt)], answers.iter().map(|a| a.to_string()).collect());
        item.authors = Some((0..answers.len()).map(|i| format!("secret-model-{i}")).collect());
        item.scores = Some((0..answers.len()).map(|i| i as f32).collect());
        item
    }

    fn read(rows: Vec<Judgment>) -> Items {
        let dir = tempfile::tempdir().unwrap();
        write_table(&dir.path().join("t.arrow"), rows).unwrap();
        Items::read(&dir.path().join("t.arrow")).unwrap()
    }

    #[test]
    fn a_task_hides_the_authors_and_finds_its_item_again() {
        let mut skipped = item("q", &["a", "b"]);
        skipped.kind = Kind::Skipped;
        let items = read(vec![item("p", &["x", "y", "z"]), skipped, item("p", &["z", "x", "y"]), item("q", &["one"])]);
        assert_eq!((items.open.len(), items.skipped, items.repeated), (1, 2, 1));
        let [(key, task)] = &items.tasks(Form::Ranker)[..] else { panic!("one task") };
        let text = task.to_string();
        assert!(!text.contains("secret") && !text.contains("score"), "{text}");
        assert_eq!((task["data"]["item"].as_str(), task["meta"]["item"].as_str()), (Some(key.as_str()), Some(key.as_str())));
        let ids: Vec<&Value> = task["data"]["answers"].as_array().unwrap().iter().map(|a| &a["id"]).collect();
        assert_eq!(ids, task["meta"]["answers"].as_array().unwrap().iter().collect::<Vec<_>>());
        assert_eq!(items.find(key).unwrap().authors.unwrap()[2], "secret-model-2");
        assert_eq!(items.tasks(Form::Ranker), items.tasks(Form::Ranker));
    }

    #[test]
    fn pairs_are_tasks_of_their_own() {
        let items = read(vec![item("p", &["x", "y", "z"])]);
        let tasks = items.tasks(Form::Pairwise);
        assert_eq!(tasks.len(), 3);
        for (key, task) in &tasks {
            let found = items.find(key).unwrap();
            let mut shown = [&task["data"]["answer1"], &task["data"]["answer2"]].map(|t| t.as_str().unwrap().to_string());
            shown.sort();
            assert_eq!((found.answers.as_slice(), found.item.as_str()), (&shown[..], key.as_str()));
            assert_eq!(found.authors.unwrap().len(), 2);
        }
    }

    #[test]
    fn orders_differ_between_items() {
        let many: Vec<Judgment> = (0..40).map(|i| item(&format!("p{i}"), &["first", "second"])).collect();
        let first = |task: &Value| task["data"]["answer1"] == "first";
        let count = read(many).tasks(Form::Pairwise).iter().filter(|(_, task)| first(task)).count();
        assert!((8..=32).contains(&count), "{count} of 40 show the first answer first");
    }

    #[test]
    fn configurations_show_what_tasks_have() {
        for form in [Form::Ranker, Form::Pairwise, Form::PairwiseTies] {
            let config = form.config(4);
            assert!(form.needs().iter().all(|field| config.contains(&format!("\"{field}\""))), "{config}");
        }
        assert_eq!(Form::Ranker.config(3).matches("<Bucket ").count(), 3);
        assert!(Form::Ranker.config(0).contains("<Ranker name=\"ranking\" toName=\"answers\"/>"));
        assert_eq!((letter(0), letter(25), letter(26)), ("A".into(), "Z".into(), "27".into()));
    }
}

//! Answers that were drawn before: a table of open items to choose from again, with other reward models or in another way.

use super::draw::Answer;
use anyhow::Result;
use data::labels::Kind;
use data::labels::table::LabelTable;
use data::prompts::Conversation;
use label::exit::input;
use std::path::Path;

/// The prompts of a table's open items with their answers, and the number of other rows.
pub fn read(path: &Path) -> Result<(Vec<Conversation>, Vec<Vec<Answer>>, u64)> {
    let (mut prompts, mut answers, mut others) = (Vec::new(), Vec::new(), 0);
    for row in LabelTable::open(path)?.iter() {
        let row = row?;
        if row.kind != Kind::Open {
            others += 1;
            continue;
        }
        let author = |i: usize| row.authors.as_ref().map(|authors| authors[i].clone()).unwrap_or_default();
        answers.push(row.answers.iter().enumerate().map(|(i, text)| Answer { text: text.clone(), author: author(i) }).collect());
        prompts.push(Conversation { turns: row.prompt, group: row.group, file: row.file, row: row.row });
    }
    if prompts.is_empty() {
        return Err(input(format!("--from {}: no open item ({others} other rows)", path.display())));
    }
    Ok((prompts, answers, others))
}

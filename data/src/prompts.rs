//! Prompts: for PPO in tokens, and as conversations for whoever wants answers to them.

use crate::chat::{ChatTemplate, Message};
use crate::config::{self, PromptData, Source};
use crate::error::DataError;
use crate::fields;
use crate::labels::text_of;
use crate::quarantine::{QuarantineReport, Reason};
use crate::source::Row;
use crate::split::{self, Split};
use crate::tokenizer::Tokenizer;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// A prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// As the source has it, without the template: what a reward model's own template is put around. A plain prompt is one turn of the user's.
    pub turns: Vec<Message>,
    /// Token ids with the template, up to where the response begins.
    pub ids: Vec<u32>,
    /// Prompts of one group are on one side of the split.
    pub group: String,
}

impl Prompt {
    /// The turns as one text; of a plain prompt it is the prompt.
    pub fn text(&self) -> String {
        text_of(&self.turns)
    }
}

/// Reads all prompts: the list in `columns.messages` where the row has one, else the text (or the list) in `columns.prompt`. Those longer than `max_length` (or than `limit`, context minus response, where that is 0; 0 is no limit) go to the
/// quarantine. With `heldout` sources these are the validation side, and no prompt or group of theirs is trained on; without, `valid_fraction` of
/// the groups is held out. `report.read` = train + valid + rejected + skipped["duplicate"] + skipped["held-out"].
pub fn load_prompts(
    config: &PromptData,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    limit: usize,
    valid_fraction: f64,
    seed: u64,
    quarantine: &Path,
) -> Result<Split<Prompt>, DataError> {
    template.check(tokenizer)?;
    let limit = if config.max_length == 0 { limit } else { config.max_length };
    if config.sources.is_empty() {
        let detail = "there is no source of prompts to train on: add one, such as sources = [{ path = \"prompts.jsonl\" }]".to_string();
        return Err(DataError::Config { key: "data.sources".to_string(), detail });
    }
    // The held-out ones first, so that the others can be compared with them.
    let sources: Vec<_> = config.heldout.iter().chain(&config.sources).cloned().collect();
    let (mut heldout, mut prompts) = (Vec::new(), Vec::new());
    let (mut reserved, mut groups) = (HashSet::new(), HashSet::new());
    let mut seen = HashSet::new();
    let report = fields::read_rows(&sources, &config.quarantine, quarantine, "prompts", &mut |i, row, bad| {
        let columns = &sources[i].columns;
        let is_heldout = i < config.heldout.len();
        let turns = match turns(row, columns) {
            Ok(turns) => turns,
            Err(fault) => return Ok(Err(fault)),
        };
        let text = text_of(&turns);
        let group = match fields::group(row, &columns.group, &text) {
            Ok(group) => group,
            Err(fault) => return Ok(Err(fault)),
        };
        // Turns of several roles and one long text of the user's may read the same.
        let key = (turns.len(), text);
        if !is_heldout && (reserved.contains(&key) || groups.contains(&group)) {
            bad.skip("held-out");
            return Ok(Ok(()));
        }
        if config.deduplicate && seen.contains(&key) {
            bad.skip("duplicate");
            return Ok(Ok(()));
        }
        let ids = match template.encode_turns(tokenizer, &turns) {
            Ok(ids) => ids,
            Err(DataError::Template { detail, .. }) => return Ok(Err((Reason::BadChat, detail))),
            Err(other) => return Err(other),
        };
        if limit > 0 && ids.len() > limit {
            return Ok(Err((Reason::TooLong, format!("{} tokens, at most {limit} fit", ids.len()))));
        }
        if config.deduplicate {
            seen.insert(key.clone());
        }
        let prompt = Prompt { turns, ids, group };
        if is_heldout {
            reserved.insert(key);
            groups.insert(prompt.group.clone());
            heldout.push(prompt);
        } else {
            prompts.push(prompt);
        }
        Ok(Ok(()))
    })?;
    if config.heldout.is_empty() {
        let (train, valid) = split::by_group(prompts, valid_fraction, seed, |prompt| &prompt.group);
        return Ok(Split { train, valid, report });
    }
    if prompts.is_empty() {
        let detail = format!("{} are held out, {:?} were skipped", heldout.len(), report.skipped);
        return Err(DataError::Empty { what: "prompts to train on", sources: "data.sources".to_string(), detail });
    }
    Ok(Split { train: prompts, valid: heldout, report })
}

/// A conversation that waits for an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// The turns; a plain prompt is one of the user's.
    pub turns: Vec<Message>,
    /// Conversations of one group are on one side of a split.
    pub group: String,
    /// The file it is from.
    pub file: PathBuf,
    /// 1-based line or row there.
    pub row: u64,
}

/// What is wrong with a conversation, if anything: the kind of fault and the fault in words, for the quarantine.
pub type Complaint = Option<(Reason, String)>;

/// Reads all conversations: the list in `columns.messages` where the row has one, else the text (or the list) in `columns.prompt`. Each distinct one
/// is taken once (`skipped["duplicate"]`). One that `fits` complains of goes to the quarantine. `report.read` = given back + rejected + skipped.
pub fn load_conversations(
    sources: &[Source],
    limits: &config::Quarantine,
    quarantine: &Path,
    fits: &mut dyn FnMut(&[Message]) -> Result<Complaint, DataError>,
) -> Result<(Vec<Conversation>, QuarantineReport), DataError> {
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    let report = fields::read_rows(sources, limits, quarantine, "prompts", &mut |i, row, bad| {
        let turns = match turns(row, &sources[i].columns) {
            Ok(turns) => turns,
            Err(fault) => return Ok(Err(fault)),
        };
        let text = text_of(&turns);
        let group = match fields::group(row, &sources[i].columns.group, &text) {
            Ok(group) => group,
            Err(fault) => return Ok(Err(fault)),
        };
        // Turns of several roles and one long text of the user's may read the same.
        if !seen.insert((turns.len(), text)) {
            bad.skip("duplicate");
            return Ok(Ok(()));
        }
        if let Some(fault) = fits(&turns)? {
            return Ok(Err(fault));
        }
        all.push(Conversation { turns, group, file: row.file.to_path_buf(), row: row.line });
        Ok(Ok(()))
    })?;
    Ok((all, report))
}

/// The turns of a row, of which the last is not the assistant's.
fn turns(row: &Row, columns: &config::Columns) -> Result<Vec<Message>, fields::Fault> {
    let list = fields::present(row, &columns.messages).or_else(|| fields::present(row, &columns.prompt).filter(|value| value.is_array()));
    let Some(list) = list else { return Ok(vec![Message::new("user", fields::visible(row, &columns.prompt)?)]) };
    fields::no_tools(row)?;
    let turns = Message::list(list).map_err(|why| (Reason::BadChat, why))?;
    match turns.last() {
        Some(last) if last.is_assistant() => {
            Err((Reason::BadChat, "the conversation ends with the assistant's answer: leave it out, since it is to be written".to_string()))
        }
        Some(last) if last.content.trim().is_empty() => Err((Reason::Empty, "the last turn is empty".to_string())),
        _ => Ok(turns),
    }
}

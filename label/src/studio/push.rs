//! `label push`: open items into a project, each once however often it is pushed.

use super::client::{Client, StudioError};
use super::tasks::{Form, Items};
use super::{PushArgs, project};
use crate::exit::input;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::HashSet;

/// What a push did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The project's number.
    pub project: u64,
    /// It was made just now.
    pub created: bool,
    /// Tasks imported.
    pub imported: usize,
    /// Tasks that were there already.
    pub there: usize,
}

/// Pushes the items of a table.
pub async fn push(args: &PushArgs, client: &Client) -> Result<Pushed> {
    let items = Items::read(&args.items)?;
    if items.open.is_empty() {
        return Err(input(format!(
            "{}: no open item with two answers ({} other rows): make some with `label sample`",
            args.items.display(),
            items.skipped
        )));
    }
    let tasks = items.tasks(args.kind);
    let (found, created) = match project::find(client, &args.project).await? {
        Some(found) => (found, false),
        None => project::create(client, args).await?,
    };
    fits(&found, args.kind)?;
    let mut there = if created { HashSet::new() } else { project::keys(client, found.id).await? };
    let wanted = tasks.len();
    let mut rest: Vec<(String, Value)> = tasks.into_iter().filter(|(key, _)| !there.contains(key)).collect();
    let known = wanted - rest.len();
    let bar = ProgressBar::new(rest.len() as u64).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} tasks, {eta} left")?);
    let total = rest.len();
    while !rest.is_empty() {
        let later = rest.split_off(args.batch.clamp(1, rest.len()));
        import(client, found.id, rest, &mut there).await?;
        rest = later;
        bar.set_position((total - rest.len()) as u64);
    }
    bar.finish_and_clear();
    let pushed = Pushed { project: found.id, created, imported: total, there: known };
    say(args, client, &items, &pushed);
    Ok(pushed)
}

/// An existing project must show what our tasks have.
fn fits(found: &project::Project, form: Form) -> Result<()> {
    let missing: Vec<&str> = form.needs().iter().filter(|field| !found.config.contains(**field)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(input(format!(
        "project {} ({:?}) does not show {}: its labelling configuration is for other tasks. Push into a new project, with another --kind, or set its \
         configuration to\n{}",
        found.id,
        found.title,
        missing.join(", "),
        form.config(0)
    )))
}

/// Imports a batch. Where the server gave no answer, what has arrived all the same is looked up before the rest is sent again.
async fn import(client: &Client, project: u64, mut batch: Vec<(String, Value)>, there: &mut HashSet<String>) -> Result<(), StudioError> {
    let path = format!("api/projects/{project}/import");
    let patience = client.patience();
    let (mut pause, mut attempt) = (patience.pause, 1);
    loop {
        let body = Value::Array(batch.iter().map(|(_, task)| task.clone()).collect());
        match client.post(&path, &body).await {
            Ok(answer) if answer["task_count"].as_u64() == Some(batch.len() as u64) => {
                there.extend(batch.into_iter().map(|(key, _)| key));
                return Ok(());
            }
            Ok(answer) => {
                let words = format!("{} tasks sent, it counts {}", batch.len(), answer["task_count"]);
                return Err(StudioError::Strange { url: format!("{}/{path}", client.base()), words });
            }
            Err(e) if e.is_passing() && attempt < patience.attempts => {
                tokio::time::sleep(pause).await;
                (pause, attempt) = (pause * 2, attempt + 1);
                there.extend(project::keys(client, project).await?);
                batch.retain(|(key, _)| !there.contains(key));
                if batch.is_empty() {
                    return Ok(());
                }
            }
            Err(StudioError::Unreachable { url, words, .. }) => return Err(StudioError::Unreachable { url, words, attempts: attempt }),
            Err(e) => return Err(e),
        }
    }
}

fn say(args: &PushArgs, client: &Client, items: &Items, pushed: &Pushed) {
    let made = if pushed.created { " (new)" } else { "" };
    eprintln!(
        "label: {} tasks for {} items imported into {}/projects/{}{made}; {} were there already",
        pushed.imported,
        items.open.len(),
        client.base(),
        pushed.project,
        pushed.there
    );
    if items.skipped + items.repeated > 0 {
        eprintln!(
            "label: of {}, {} rows are no open items of two answers, {} repeat an item",
            args.items.display(),
            items.skipped,
            items.repeated
        );
    }
}

/// What a new project is made of.
pub fn settings(args: &PushArgs, instruction: Option<&str>) -> Value {
    let mut settings = json!({
        "title": args.project,
        "label_config": args.kind.config(args.buckets),
        "maximum_annotations": args.overlap,
        "show_skip_button": true,
        "enable_empty_annotation": false,
    });
    if let Some(text) = instruction {
        settings["expert_instruction"] = json!(text);
        settings["show_instruction"] = json!(true);
    }
    settings
}

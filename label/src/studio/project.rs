//! A project: found by number or name, made, its tasks listed page by page.

use super::PushArgs;
use super::client::{Client, StudioError};
use crate::exit::input;
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Tasks a page where only their keys are read.
const KEYS: usize = 500;
/// Projects a page.
const PROJECTS: usize = 100;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub title: String,
    /// Its labelling configuration.
    pub config: String,
}

/// The project that a number or a name means; a name that no project has is none, a number that no project has is an error.
pub async fn find(client: &Client, named: &str) -> Result<Option<Project>> {
    if let Ok(id) = named.parse::<u64>() {
        return Ok(Some(read(client, &client.get(&format!("api/projects/{id}/")).await?)?));
    }
    let mut alike = Vec::new();
    let mut page = 1;
    loop {
        let path = format!("api/projects/?page={page}&page_size={PROJECTS}&include=id,title,label_config");
        let answer = client.get(&path).await?;
        let list = answer["results"].as_array().ok_or_else(|| strange(client, &path, "no `results`"))?;
        for project in list.iter().filter(|p| p["title"].as_str() == Some(named)) {
            alike.push(read(client, project)?);
        }
        if answer["next"].is_null() || list.is_empty() {
            break;
        }
        page += 1;
    }
    match alike.len() {
        0 => Ok(None),
        1 => Ok(alike.pop()),
        _ => {
            let ids: Vec<String> = alike.iter().map(|p| p.id.to_string()).collect();
            Err(input(format!("several projects are named {named:?}: give the number of one as --project ({})", ids.join(", "))))
        }
    }
}

/// Makes the project; one that was made although the server gave no answer is found, not made twice.
pub async fn create(client: &Client, args: &PushArgs) -> Result<(Project, bool)> {
    let instruction = match &args.instructions {
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("--instructions {}", path.display()))?),
        None => None,
    };
    let settings = super::push::settings(args, instruction.as_deref());
    let patience = client.patience();
    let (mut pause, mut attempt) = (patience.pause, 1);
    loop {
        match client.post("api/projects/", &settings).await {
            Ok(answer) => return Ok((read(client, &answer)?, true)),
            Err(e) if e.is_passing() && attempt < patience.attempts => {
                tokio::time::sleep(pause).await;
                (pause, attempt) = (pause * 2, attempt + 1);
                if let Some(found) = find(client, &args.project).await? {
                    return Ok((found, true));
                }
            }
            Err(StudioError::Unreachable { url, words, .. }) => {
                return Err(StudioError::Unreachable { url, words, attempts: attempt }.into());
            }
            Err(e) => return Err(e.into()),
        }
    }
}

fn read(client: &Client, project: &Value) -> Result<Project, StudioError> {
    let id = project["id"].as_u64().ok_or_else(|| strange(client, "api/projects/", "a project without `id`"))?;
    let text = |key: &str| project[key].as_str().unwrap_or_default().to_string();
    Ok(Project { id, title: text("title"), config: text("label_config") })
}

/// The `item` keys of all tasks.
pub async fn keys(client: &Client, project: u64) -> Result<HashSet<String>, StudioError> {
    let mut keys = HashSet::new();
    each_task(client, project, "task_only&include=id,data", KEYS, &mut |task, _| {
        keys.extend(task["data"]["item"].as_str().map(str::to_string));
        Ok(())
    })
    .await?;
    Ok(keys)
}

/// What is done with a task; it hears how many there are.
pub type EachTask<'a> = dyn FnMut(&Map<String, Value>, u64) -> Result<(), StudioError> + 'a;

/// Hands over every task once, page by page, in the order of their numbers within a page. `fields` is the query's. A server may cap the size of a page
/// below `size`: what has come is counted, not what was asked for.
pub async fn each_task(client: &Client, project: u64, fields: &str, size: usize, each: &mut EachTask<'_>) -> Result<(), StudioError> {
    let mut seen = HashSet::new();
    let (mut page, mut received) = (1, 0);
    loop {
        let path = format!("api/tasks?project={project}&page={page}&page_size={size}&fields={fields}");
        let answer = match client.get(&path).await {
            // Tasks were deleted while we read.
            Err(StudioError::NotFound { .. }) if page > 1 => return Ok(()),
            other => other?,
        };
        let total = answer["total"].as_u64().ok_or_else(|| strange(client, &path, "no `total`"))?;
        let tasks = answer["tasks"].as_array().ok_or_else(|| strange(client, &path, "no `tasks`"))?;
        let mut tasks: Vec<(u64, &Map<String, Value>)> = tasks
            .iter()
            .map(|task| Some((task["id"].as_u64()?, task.as_object()?)))
            .collect::<Option<_>>()
            .ok_or_else(|| strange(client, &path, "a task without `id`"))?;
        tasks.sort_by_key(|(id, _)| *id);
        for (_, task) in tasks.iter().filter(|(id, _)| seen.insert(*id)) {
            each(task, total)?;
        }
        received += tasks.len() as u64;
        if received >= total || tasks.is_empty() {
            return Ok(());
        }
        page += 1;
    }
}

fn strange(client: &Client, path: &str, words: &str) -> StudioError {
    StudioError::Strange { url: format!("{}/{path}", client.base()), words: words.to_string() }
}

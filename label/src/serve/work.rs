//! The labeller's requests: the page with an item, and what is said about it.

use super::app::{self, Shared};
use super::assign::{self, Next, Task};
use super::db::random;
use super::items::MAX_ANSWERS;
use super::judge::{self, Answer, COMMENT, Draft, Outcome, Verdict};
use super::text::{Lang, REASONS, TEXTS};
use super::visitor::{Posted, Problem, Visitor};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use minijinja::{Value, context};

/// Longest nonce.
const NONCE: usize = 64;

/// The next item, or word that there is none.
pub async fn page(State(app): State<Shared>, visitor: Visitor) -> Result<Response, Problem> {
    if visitor.person.admin {
        return Ok(Redirect::to("/admin").into_response());
    }
    let (labeller, rules) = (visitor.labeller()?, app.rules);
    let (next, progress) = app
        .with_db(move |db, now| {
            let next = assign::next(db, rules, labeller, now)?;
            Ok((next, assign::progress(db, rules, labeller, now)?))
        })
        .await?;
    let shared = context! { csrf => visitor.form_token(), progress => context! { done => progress.done, left => progress.left } };
    Ok(match next {
        Next::Nothing(waiting) => app.pages.show("done.html", visitor.lang, context! { waiting, ..shared })?,
        Next::Task(task) => {
            let instructions = &app.instructions;
            let values = context! { instructions, ..context! { ..shared, ..item(&task, visitor.lang)? } };
            app.pages.show("work.html", visitor.lang, values)?
        }
    })
}

/// The item's part of the page. Answers stand in the order shown to this labeller; nothing says who wrote them.
fn item(task: &Task, lang: Lang) -> Result<Value, Problem> {
    let turns: Vec<Value> = task
        .item
        .prompt
        .iter()
        .map(|turn| {
            let role = TEXTS.iter().find(|(key, ..)| key.strip_prefix("role_") == Some(&turn.role)).map(|(key, ..)| lang.text(key));
            let side = if turn.role == "assistant" { "theirs" } else { "ours" };
            context! { role => role.unwrap_or(&turn.role), side, text => &turn.content }
        })
        .collect();
    let mut cards: Vec<Value> = vec![Value::UNDEFINED; task.shown.len()];
    for (answer, &place) in task.item.answers.iter().zip(&task.shown) {
        let place = place as usize;
        cards[place] = context! { n => place + 1, text => answer, rank => task.draft.places.get(place).copied().flatten() };
    }
    let texts = lang.texts();
    let said = ["move_up", "move_down", "tie_up", "untie", "take_out", "place_next", "drag", "answer_n", "empty_answer"];
    let js: serde_json::Map<String, serde_json::Value> =
        texts.into_iter().filter(|(key, _)| key.starts_with("js_") || said.contains(key)).map(|(k, v)| (k.to_string(), v.into())).collect();
    Ok(context! {
        turns, keys_to => cards.len().min(9), cards, reference => &task.reference, revising => task.revising, rejected => task.draft.rejected,
        comment => &task.draft.comment, seconds => task.draft.seconds, nonce => nonce()?, reasons => REASONS, comment_limit => COMMENT,
        js_texts => serde_json::Value::Object(js).to_string(),
    })
}

/// Instructions and keys.
pub async fn help(State(app): State<Shared>, visitor: Visitor) -> Result<Response, Problem> {
    let instructions = &app.instructions;
    Ok(app.pages.show("help.html", visitor.lang, context! { instructions, keys_to => 9 })?)
}

/// A ranking.
pub async fn submit(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    let places = places(&posted)?;
    let rejected = posted.field("rejected") == "1";
    let places = match places.iter().copied().collect::<Option<Vec<u32>>>() {
        Some(places) if !places.is_empty() => Some(places),
        _ if rejected && places.iter().all(Option::is_none) => None,
        _ => return Err(Problem::RANKS),
    };
    let comment = Some(comment(&posted)?).filter(|text| !text.is_empty());
    store(&app, &posted, Verdict::Ranking { places, rejected }, comment).await
}

/// A skip, with its reason.
pub async fn skip(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    let reason = REASONS.into_iter().find(|key| *key == posted.field("reason")).ok_or(Problem::REASON)?;
    let reason = Lang::En.text(reason);
    let more = comment(&posted)?;
    let comment = if more.is_empty() { reason.to_string() } else { format!("{reason}: {more}") };
    store(&app, &posted, Verdict::Skipped, Some(comment)).await
}

async fn store(app: &Shared, posted: &Posted, verdict: Verdict, comment: Option<String>) -> Result<Response, Problem> {
    let labeller = posted.visitor.labeller()?;
    let nonce = posted.field("nonce").to_string();
    if !(16..=NONCE).contains(&nonce.len()) || !nonce.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(Problem::FORM);
    }
    let answer =
        Answer { reference: posted.field("item").to_string(), nonce, verdict, comment, seconds: posted.field("seconds").parse().ok() };
    match app.with_db(move |db, now| judge::submit(db, labeller, &answer, now)).await? {
        Outcome::Stored | Outcome::Repeated => Ok(Redirect::to("/").into_response()),
        Outcome::NotGiven => Err(Problem::NOT_GIVEN),
        Outcome::WrongLength => Err(Problem::RANKS),
    }
}

/// An unfinished answer. 204 if it is stored, 409 if the item is not before the labeller any more.
pub async fn draft(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    let (labeller, rules) = (posted.visitor.labeller()?, app.rules);
    let seconds: f64 = posted.field("seconds").parse().unwrap_or(0.0);
    let draft = Draft {
        places: places(&posted)?,
        rejected: posted.field("rejected") == "1",
        comment: comment(&posted)?,
        seconds: if seconds.is_finite() { seconds.max(0.0) } else { 0.0 },
    };
    let reference = posted.field("item").to_string();
    let stored = app.with_db(move |db, now| judge::save_draft(db, rules, labeller, &reference, &draft, now)).await?;
    Ok(if stored { StatusCode::NO_CONTENT } else { StatusCode::CONFLICT }.into_response())
}

/// Back to the last answer.
pub async fn undo(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    let labeller = posted.visitor.labeller()?;
    app.with_db(move |db, now| judge::undo(db, labeller, now)).await?;
    Ok(Redirect::to("/").into_response())
}

/// Forward again, without a change.
pub async fn keep(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    let labeller = posted.visitor.labeller()?;
    app.with_db(move |db, _| judge::keep(db, labeller)).await?;
    Ok(Redirect::to("/").into_response())
}

/// Ends the session.
pub async fn leave(State(app): State<Shared>, posted: Posted) -> Result<Response, Problem> {
    app::end_session(&app, posted.visitor).await
}

/// The fields `place-0`, `place-1`...: the rank of the answer shown at each place.
fn places(posted: &Posted) -> Result<Vec<Option<u32>>, Problem> {
    let names = (0..MAX_ANSWERS).map(|p| format!("place-{p}")).take_while(|name| posted.has(name));
    names
        .map(|name| match posted.field(&name) {
            "" => Ok(None),
            text => text.parse().ok().filter(|rank| (1..=MAX_ANSWERS as u32).contains(rank)).map(Some).ok_or(Problem::RANKS),
        })
        .collect()
}

/// The comment, with line ends as everywhere else (forms send `\r\n`).
fn comment(posted: &Posted) -> Result<String, Problem> {
    let text = posted.field("comment").replace("\r\n", "\n");
    let text = text.trim();
    if text.chars().count() > COMMENT { Err(Problem::FORM) } else { Ok(text.to_string()) }
}

fn nonce() -> Result<String, Problem> {
    Ok(blake3::Hash::from(random()?).to_hex()[..32].to_string())
}

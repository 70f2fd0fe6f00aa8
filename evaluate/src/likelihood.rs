//! How likely a language model finds what follows a context. Choices of one context share its computation.
//!
//! Letters of the shapes: N tokens of a batch, D width, P places that predict, V vocabulary.

use data::error::DataError;
use data::tokenizer::Tokenizer;
use model::{Model, ModelError, Segments};
use tch::{Kind, Tensor};

/// Tokens of a batch at most; a longer context goes alone.
const BATCH_TOKENS: usize = 4096;
/// Numbers that the logits of one chunk may hold (64 MiB of float32).
const LOGITS: usize = 1 << 24;

/// A context and what may follow it, in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// At least one token.
    pub context: Vec<u32>,
    /// Each at least one token, and no more than the model's context.
    pub continuations: Vec<Vec<u32>>,
}

/// How likely a continuation is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Likelihood {
    /// Σ log p(token | what precedes it), in nats: 0 or less.
    pub log_prob: f64,
    /// Every token is the likeliest at its place: the model would have written it greedily.
    pub greedy: bool,
}

/// A context and its continuations as lm-evaluation-harness tokenises them (`_encode_pair`): together, and the continuation is what comes after as many tokens as the
/// context has alone. Blanks at the context's end belong to the continuation. An empty context is the begin token, or the end token where there is none.
pub fn request(tokenizer: &Tokenizer, context: &str, continuations: &[String]) -> Result<Request, DataError> {
    if context.is_empty() {
        let prefix = tokenizer.bos().unwrap_or(tokenizer.eos());
        let encode = |text: &String| tokenizer.encode(text);
        return Ok(Request { context: vec![prefix], continuations: continuations.iter().map(encode).collect::<Result<_, _>>()? });
    }
    let beginning = tokenizer.beginning()?;
    let (context, blanks) = context.split_at(context.trim_end().len());
    let mut before: Vec<u32> = beginning.iter().copied().chain(tokenizer.encode(context)?).collect();
    let mut after = Vec::new();
    for continuation in continuations {
        let whole = tokenizer.encode(&[context, blanks, continuation].concat())?;
        after.push(whole.get(before.len() - beginning.len()..).unwrap_or_default().to_vec());
    }
    if before.is_empty() {
        before.push(tokenizer.bos().unwrap_or(tokenizer.eos())); // nothing but blanks
    }
    Ok(Request { context: before, continuations: after })
}

/// A whole text in windows of the model's context that do not overlap in what they predict, as lm-evaluation-harness cuts it
/// (`get_rolling_token_windows` with a context of one token): the first is predicted from the begin or end token, the last reaches back to fill the context.
pub fn rolling(tokenizer: &Tokenizer, text: &str, context: usize) -> Result<Vec<Request>, DataError> {
    let ids: Vec<u32> = tokenizer.beginning()?.into_iter().chain(tokenizer.encode(text)?).collect();
    let prefix = tokenizer.bos().unwrap_or(tokenizer.eos());
    let mut windows = Vec::new();
    let mut predicted = 0;
    while predicted < ids.len() {
        let end = ids.len().min(predicted + context);
        let before = match predicted {
            0 => vec![prefix],
            _ => ids[end - (context + 1).min(end)..predicted].to_vec(),
        };
        windows.push(Request { context: before, continuations: vec![ids[predicted..end].to_vec()] });
        predicted = end;
    }
    Ok(windows)
}

/// The likelihood of every continuation. A context too long for the model loses its first tokens, as in lm-evaluation-harness. `done` hears how many requests
/// have been scored.
pub fn likelihoods(model: &Model, requests: &[Request], done: &mut dyn FnMut(usize)) -> Result<Vec<Vec<Likelihood>>, ModelError> {
    let room = model.config().context;
    let mut groups = Vec::new();
    for (at, request) in requests.iter().enumerate() {
        groups.extend(Group::of(at, request, room)?);
    }
    groups.sort_by_key(|g| std::cmp::Reverse(g.longest()));
    let fresh = Likelihood { log_prob: 0.0, greedy: true };
    let mut out: Vec<Vec<Likelihood>> = requests.iter().map(|r| vec![fresh; r.continuations.len()]).collect();
    let mut rest = groups.as_slice();
    let mut finished = 0;
    while !rest.is_empty() {
        let mut tokens = 0;
        let size = rest
            .iter()
            .take_while(|g| {
                tokens += g.padded();
                tokens <= BATCH_TOKENS
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(size);
        tch::no_grad(|| batch(model, now, &mut out))?;
        finished += now.len();
        done(finished * requests.len() / groups.len());
        rest = later;
    }
    Ok(out)
}

/// A context with the continuations that share it.
struct Group<'a> {
    context: &'a [u32],
    /// (request, continuation, its tokens).
    branches: Vec<(usize, usize, &'a [u32])>,
}

impl<'a> Group<'a> {
    /// One group, or one for each continuation where they leave the context differently long.
    fn of(at: usize, request: &'a Request, room: usize) -> Result<Vec<Group<'a>>, ModelError> {
        let Request { context, continuations } = request;
        let bad = |what: String| ModelError::Input(format!("continuation of request {at}: {what}"));
        for continuation in continuations {
            match continuation.len() {
                0 => return Err(bad("no tokens of its own: its text melts into the context's last token".into())),
                n if n > room => return Err(bad(format!("{n} tokens, the model's context is {room}"))),
                _ => {}
            }
        }
        let longest = continuations.iter().map(Vec::len).max().unwrap_or(0);
        let branches = continuations.iter().enumerate().map(|(i, c)| (at, i, c.as_slice()));
        if context.len() + longest <= room + 1 {
            return Ok(vec![Group { context, branches: branches.collect() }]);
        }
        let alone = |branch: (usize, usize, &'a [u32])| {
            let keep = context.len().min(room + 1 - branch.2.len());
            Group { context: &context[context.len() - keep..], branches: vec![branch] }
        };
        Ok(branches.map(alone).collect())
    }

    fn longest(&self) -> usize {
        self.context.len() + self.branches.iter().map(|b| b.2.len()).max().unwrap_or(0)
    }

    /// Tokens where every branch is a row of its own, as attention outside our kernels sees them.
    fn padded(&self) -> usize {
        self.longest() * self.branches.len().max(1)
    }
}

/// A token to be predicted: which of the places predicts it, and whose it is.
struct Wanted {
    place: usize,
    token: u32,
    owner: (usize, usize),
}

fn batch(model: &Model, groups: &[Group], out: &mut [Vec<Likelihood>]) -> Result<(), ModelError> {
    let (mut ids, mut lengths) = (Vec::new(), Vec::new());
    let (mut places, mut wanted) = (Vec::new(), Vec::new());
    for group in groups {
        let mut segments = vec![group.context.len()];
        ids.extend_from_slice(group.context);
        places.push(ids.len() as i64 - 1); // the context's last token predicts every branch's first one
        let first = places.len() - 1;
        wanted.extend(group.branches.iter().map(|&(at, i, tokens)| Wanted { place: first, token: tokens[0], owner: (at, i) }));
        for &(at, i, tokens) in &group.branches {
            let fed = &tokens[..tokens.len() - 1];
            for (token, next) in fed.iter().zip(&tokens[1..]) {
                ids.push(*token);
                places.push(ids.len() as i64 - 1);
                wanted.push(Wanted { place: places.len() - 1, token: *next, owner: (at, i) });
            }
            segments.extend((!fed.is_empty()).then_some(fed.len()));
        }
        lengths.push(segments);
    }
    let vocabulary = model.config().vocab_size;
    let all: Vec<u32> = ids.iter().copied().chain(wanted.iter().map(|w| w.token)).collect();
    for piece in all.chunks(model.config().context) {
        model.check_ids(&[piece])?;
    }
    let device = model.device();
    let segments = Segments::from_groups(&lengths, device);
    let ids = Tensor::from_slice(&ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>()).to_device(device);
    let hidden = model.forward_at(&ids, &segments, &Tensor::from_slice(&places).to_device(device), false); // [P, D]
    let chunk = (LOGITS / vocabulary).max(1);
    let mut rest = wanted.as_slice();
    for (number, picked) in hidden.split(chunk as i64, 0).iter().enumerate() {
        let (now, later) = rest.split_at(rest.partition_point(|w| w.place < (number + 1) * chunk));
        rest = later;
        let log_probs = model.logits(picked).log_softmax(-1, Kind::Float); // [chunk, V]
        let best: Vec<i64> = Vec::try_from(&log_probs.argmax(-1, false).to_device(tch::Device::Cpu))?;
        let flat = |w: &Wanted| ((w.place - number * chunk) * vocabulary) as i64 + i64::from(w.token);
        let at = Tensor::from_slice(&now.iter().map(flat).collect::<Vec<_>>()).to_device(device);
        let found: Vec<f64> =
            Vec::try_from(&log_probs.flatten(0, 1).index_select(0, &at).to_kind(Kind::Double).to_device(tch::Device::Cpu))?;
        for (w, log_prob) in now.iter().zip(found) {
            let likelihood = &mut out[w.owner.0][w.owner.1];
            likelihood.log_prob += log_prob;
            likelihood.greedy &= best[w.place - number * chunk] == i64::from(w.token);
        }
    }
    Ok(())
}

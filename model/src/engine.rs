//! What generation runs on: `native::decode` where it takes the model, libtorch's operators elsewhere. Both keep sequences in slots of a cache.

use crate::attention::{Pass, Tokens};
use crate::cache::{Cache, Places, no_room};
use crate::error::ModelError;
use crate::layers::sound;
use crate::model::Model;
use crate::rotary::Reach;
use crate::segments::Segments;
use native::{NativeError, decode};
use tch::{Device, Kind, Tensor};

/// Prompt tokens that go through the network together, unless a single prompt has more: enough for its products, few enough for the caches.
const AT_ONCE: usize = 1024;

/// A model and a cache of so many slots.
#[derive(Debug)]
pub(crate) struct Engine<'a> {
    model: &'a Model,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Native { network: decode::Network, cache: decode::Cache },
    Operators { rounded: Option<Box<Model>>, cache: Cache },
}

impl<'a> Engine<'a> {
    /// For sequences of `columns` tokens at most.
    pub fn new(model: &'a Model, slots: usize, columns: usize) -> Result<Engine<'a>, ModelError> {
        let (slots, columns) = (slots as i64, columns as i64);
        let way = match model.decoder() {
            Some(network) => {
                let cache = decode::Cache::new(&network, slots, columns).map_err(|e| match e {
                    NativeError::Torch(_) => no_room(model.config(), slots, columns, network.kind()),
                    other => other.into(),
                })?;
                Way::Native { network, cache }
            }
            None => {
                let cache = Cache::new(model.config(), slots, columns, (model.compute(), model.device()))?;
                Way::Operators { rounded: model.rounded()?.map(Box::new), cache }
            }
        };
        Ok(Engine { model, way })
    }

    /// Puts prompts into slots; logits of what follows each, `[prompts, V]`.
    pub fn begin(&mut self, prompts: &[(usize, &[u32])], logits: &mut Vec<f32>) -> Result<(), ModelError> {
        logits.clear();
        let mut part = Vec::new();
        let mut rest = prompts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |(_, ids): &&(usize, &[u32])| {
                tokens += ids.len();
                tokens <= AT_ONCE
            };
            let n = rest.iter().take_while(fits).count().max(1);
            self.feed_prompts(&rest[..n], &mut part)?;
            logits.append(&mut part);
            rest = &rest[n..];
        }
        Ok(())
    }

    /// One more token for the slots from 0 on, each at its place; logits of what follows, `[rows, V]`.
    pub fn step(&mut self, ids: &[i64], places: &[i64], logits: &mut Vec<f32>) -> Result<(), ModelError> {
        let lengths: Vec<i64> = places.iter().map(|p| p + 1).collect();
        let slots: Vec<i64> = (0..ids.len() as i64).collect();
        match &mut self.way {
            Way::Native { network, cache } => feed(self.model, network, cache, (ids, &slots, places, &lengths), &slots, logits),
            Way::Operators { rounded, cache } => {
                let model = rounded.as_deref().unwrap_or(self.model);
                let hidden = step(model, cache, ids, &slots, places, &lengths);
                numbers(&model.logits(&hidden), logits)
            }
        }
    }

    /// Makes the first `places` tokens of slot `to` those of slot `from`.
    pub fn copy(&mut self, from: usize, to: usize, places: usize) {
        let (from, to, places) = (from as i64, to as i64, places as i64);
        match &mut self.way {
            Way::Native { cache, .. } => cache.copy(from, to, places),
            Way::Operators { cache, .. } => cache.copy(from, to, places),
        }
    }

    fn feed_prompts(&mut self, prompts: &[(usize, &[u32])], logits: &mut Vec<f32>) -> Result<(), ModelError> {
        let each = |f: fn(usize, &[u32]) -> Vec<i64>| prompts.iter().flat_map(|(slot, ids)| f(*slot, ids)).collect::<Vec<i64>>();
        let ids = each(|_, ids| ids.iter().map(|&id| i64::from(id)).collect());
        let slots = each(|slot, ids| vec![slot as i64; ids.len()]);
        let places = each(|_, ids| (0..ids.len() as i64).collect());
        let lengths = each(|_, ids| vec![ids.len() as i64; ids.len()]);
        let mut end = -1;
        let last: Vec<i64> = prompts
            .iter()
            .map(|(_, ids)| {
                end += ids.len() as i64;
                end
            })
            .collect();
        match &mut self.way {
            Way::Native { network, cache } => feed(self.model, network, cache, (&ids, &slots, &places, &lengths), &last, logits),
            Way::Operators { rounded, cache } => {
                let model = rounded.as_deref().unwrap_or(self.model);
                let (trunk, device) = (model.trunk(), model.device());
                let segments = Segments::from_groups(&prompts.iter().map(|(_, ids)| vec![ids.len()]).collect::<Vec<_>>(), device);
                let kept = Places::new(&slots, &places, device);
                let rotary = match segments.rows() {
                    Some((_, time)) => trunk.tables_from_zero(time, Reach::Tokens(&lengths[..time as usize])),
                    None => trunk.tables(segments.positions(), Reach::Tokens(&lengths)),
                };
                let tokens = Tokens::Prompts { segments: &segments, cache, places: &kept };
                let embedded = trunk.embed(&Tensor::from_slice(&ids).to_device(device), Some(segments.positions()), false);
                let last = Tensor::from_slice(&last).to_device(device);
                let x = trunk.blocks(embedded, &Pass { train: false, rotary, tokens, wanted: Some(&last) });
                numbers(&model.logits(&trunk.norm.forward(&x)), logits)
            }
        }
    }
}

/// Ids, slots, places and the lengths of the sequences they are turned for.
type Fed<'a> = (&'a [i64], &'a [i64], &'a [i64], &'a [i64]);

fn feed(
    model: &Model,
    network: &decode::Network,
    cache: &mut decode::Cache,
    (ids, slots, places, lengths): Fed<'_>,
    wanted: &[i64],
    logits: &mut Vec<f32>,
) -> Result<(), ModelError> {
    let tables = model.trunk().tables(&Tensor::from_slice(places), Reach::Tokens(lengths)).map(|(_, (cos, sin))| {
        // Both halves of a table are the same.
        let half = |table: &Tensor| table.view([ids.len() as i64, -1]).narrow(1, 0, network.turning / 2).contiguous();
        (half(&cos), half(&sin))
    });
    let tables = tables.as_ref().map(|(cos, sin)| (cos, sin));
    sound(network.feed(cache, decode::Tokens { ids, slots, places, tables }, wanted, logits));
    Ok(())
}

/// Hidden states `[rows, D]` of one more token a row.
pub(crate) fn step(model: &Model, cache: &Cache, ids: &[i64], slots: &[i64], places: &[i64], lengths: &[i64]) -> Tensor {
    let (trunk, device) = (model.trunk(), model.device());
    let kept = Places::new(slots, places, device);
    let (oldest, newest) = (places.iter().copied().min().unwrap_or(0), places.iter().copied().max().unwrap_or(0));
    let (end, rows) = (newest + 1, ids.len() as i64);
    let mask = |window: Option<i64>| {
        (oldest < newest).then(|| {
            let (column, place) = (Tensor::arange(end, (Kind::Int64, device)).unsqueeze(0), kept.columns().unsqueeze(1));
            let mut hidden = column.gt_tensor(&place); // [B, end]
            if let Some(window) = window {
                hidden = hidden.logical_or(&column.le_tensor(&(&place - window)));
            }
            Tensor::zeros([rows, end], (trunk.compute, device)).masked_fill(&hidden, f64::NEG_INFINITY).view([rows, 1, 1, end])
        })
    };
    let first = trunk.window().map_or(0, |w| (oldest - w + 1).max(0));
    let masks = [mask(None), trunk.window().and_then(|w| mask(Some(w)))];
    let column = kept.columns().unsqueeze(1); // [B, 1]
    let rotary = trunk.tables(&column, Reach::Tokens(lengths));
    let ids = Tensor::from_slice(ids).to_device(device).unsqueeze(1);
    let pass = Pass { train: false, rotary, tokens: Tokens::Step { cache, places: &kept, end, first, masks }, wanted: None };
    trunk.norm.forward(&trunk.blocks(trunk.embed(&ids, Some(&column), false), &pass))
}

/// A tensor as a list.
pub(crate) fn numbers(tensor: &Tensor, out: &mut Vec<f32>) -> Result<(), ModelError> {
    let tensor = tensor.to_device(Device::Cpu).contiguous();
    out.resize(tensor.numel(), 0.0);
    Ok(tensor.f_copy_data(out, tensor.numel())?)
}

//! The networks that rows can train: a decoder that continues prompts, one that sees pictures before them, an encoder-decoder that translates them, an encoder
//! that classifies them. The loop knows what it needs of each: the states at the places that are learnt, their targets, and the head.
//!
//! Shapes: B rows, S and T tokens of the longest source and target, N learnt places, D width, V vocabulary, L classes.

use crate::batch::{self, Batch};
use crate::captions;
use crate::decide::{self, Counts};
use anyhow::{Result, bail, ensure};
use data::chat::ChatTemplate;
use data::config::{Distributed, Lora, SftLoss, Shard, Train};
use data::demos::{Demo, Layout, framed_ids, source_ids};
use data::pictures::Picture;
use data::tokenizer::Tokenizer;
use evaluate::teacher::Teach;
use loss::distill;
use loss::lm::{Output, positions_at_once};
use model::seq2seq::beam::{self, BeamSearch};
use model::{Bert, Captioner, Classifier, Model, ModelError, PaddedRows, Sampling, Seq2Seq, Start, Student};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// A network with its head.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it in a run: a box would gain nothing
pub enum Network {
    /// Continues the prompt.
    Decoder(Model),
    /// Continues the prompt behind a picture.
    Captioner(Captioner),
    /// Writes the target of a source.
    Translator(Seq2Seq),
    /// Names the class of a text, read off its first token.
    Classifier(Bert),
    /// Names the class of a row, a number or a choice, read off the ends of its sequences.
    Decides(Classifier),
}

/// How answers are written.
#[derive(Debug, Clone, Copy)]
pub struct Writing {
    /// Tokens at most; see [`Network::room`].
    pub max_new: usize,
    /// Beams of an encoder-decoder.
    pub beams: usize,
}

impl Student for Network {
    fn decoder(&self) -> Option<&Model> {
        if let Network::Decoder(m) = self { Some(m) } else { None }
    }

    fn decoder_mut(&mut self) -> Option<&mut Model> {
        if let Network::Decoder(m) = self { Some(m) } else { None }
    }

    fn parameters(&self) -> Vec<model::Parameter> {
        match self {
            Network::Decoder(m) => m.parameters(),
            Network::Captioner(m) => m.trainable(),
            Network::Translator(m) => m.parameters(),
            Network::Classifier(m) => m.parameters(),
            Network::Decides(m) => m.parameters(),
        }
    }

    /// Of a decoder that classifies, what [`decide::freeze_unread`] leaves.
    fn trainable(&self) -> Vec<model::Parameter> {
        match self {
            Network::Decoder(m) => m.trainable(),
            Network::Decides(m) => m.parameters().into_iter().filter(|p| p.tensor.requires_grad()).collect(),
            Network::Captioner(_) | Network::Translator(_) | Network::Classifier(_) => self.parameters(),
        }
    }

    fn context(&self) -> usize {
        match self {
            Network::Decoder(m) => m.config().context,
            Network::Captioner(m) => m.decoder().config().context,
            Network::Translator(m) => m.config().context,
            Network::Classifier(m) => m.config().context,
            Network::Decides(m) => m.model().config().context,
        }
    }

    fn prepare(&mut self, precision: Kind, dropout: f64, recompute: bool) {
        match self {
            Network::Decoder(m) => m.prepare(precision, dropout, recompute),
            Network::Captioner(m) => m.prepare(precision, dropout, recompute),
            Network::Translator(m) => {
                m.set_compute(precision);
                m.set_dropout(dropout);
            }
            Network::Classifier(m) => {
                m.set_compute(precision);
                m.set_dropout(dropout);
            }
            Network::Decides(m) => {
                m.set_activation_checkpointing(recompute);
                m.set_compute(precision);
                m.set_dropout(dropout);
            }
        }
    }
}

impl Teach for Network {
    fn head(&self) -> Output<'_> {
        self.output(0.0)
    }
}

impl Network {
    /// What rows become for it; a decoder's template is given.
    pub fn layout<'a>(&'a self, template: Option<&'a ChatTemplate>) -> Layout<'a> {
        match (self, template) {
            (Network::Decoder(_), Some(template)) => Layout::Chat(template),
            (Network::Captioner(m), Some(template)) => Layout::Pictured { template, side: m.side(), places: m.places() },
            (Network::Classifier(_), _) => Layout::Framed,
            (Network::Decides(m), _) => Layout::Marked(m.frame().expect("set-up asks for one")),
            _ => Layout::Pair,
        }
    }

    /// Refuses what decoders alone can do.
    pub fn check(&self, lora: &Lora, train: &Train, distributed: &Distributed) -> Result<()> {
        let whole = self.decoder().is_some();
        let answers = whole || matches!(self, Network::Captioner(_));
        let blocks = answers || matches!(self, Network::Decides(_));
        ensure!(answers || lora.rank == 0, "lora.rank: adapters are for decoders that answer");
        ensure!(blocks || !train.activation_checkpointing, "train.activation_checkpointing is for decoders");
        let parts = distributed.shard == Shard::Parameters;
        ensure!(whole || !parts, "distributed.shard = \"parameters\" is for decoders that answer, without pictures: use \"gradients\"");
        Ok(())
    }

    /// Writes the model folder without its tokenizer; a decoder as what it started from wants it.
    pub fn save(&self, start: Option<&Start>, folder: &Path) -> Result<(), ModelError> {
        match self {
            Network::Decoder(m) => m.save_from(start, folder),
            Network::Captioner(m) => {
                m.decoder().save_from(start, folder)?;
                m.save_vision(folder)
            }
            Network::Translator(m) => m.save(folder),
            Network::Classifier(m) => m.save(folder),
            Network::Decides(m) => m.save(folder),
        }
    }

    /// The head: `[V, D]`, or `[L, D]`.
    pub fn output(&self, smoothing: f64) -> Output<'_> {
        let (weight, bias) = match self {
            Network::Decoder(m) => (m.head_weight(), None),
            Network::Captioner(m) => (m.decoder().head_weight(), None),
            Network::Translator(m) => {
                let (weight, bias) = m.head();
                (weight, Some(bias))
            }
            Network::Classifier(m) => {
                let (weight, bias) = m.head();
                (weight, Some(bias))
            }
            Network::Decides(m) => (m.model().head_weight(), None),
        };
        Output { weight, bias, smoothing }
    }

    /// What the means of an optimiser step over these sequences are over.
    pub fn counts(&self, demos: &[Demo], sequences: &[&Vec<usize>]) -> Counts {
        match self {
            Network::Decides(_) => decide::counts(sequences.iter().flat_map(|rows| rows.iter()).map(|&i| &demos[i])),
            _ => Counts { learnt: batch::targets(demos, sequences) as f64, next: 0.0 },
        }
    }

    /// From what [`Network::states`] gave, and from what a teacher says of it, to the summed loss, and a scalar whose backward pass adds the gradient of these
    /// sequences' part of the step's mean.
    pub fn loss(
        &self,
        demos: &[Demo],
        sequences: &[&Vec<usize>],
        learnt: &(Tensor, Tensor),
        teacher: Option<distill::Teacher<'_>>,
        counts: Counts,
        c: &SftLoss,
    ) -> (distill::Sums, Tensor) {
        if let Network::Decides(m) = self {
            let rows: Vec<&Demo> = sequences.iter().flat_map(|rows| rows.iter()).map(|&i| &demos[i]).collect();
            let at_once = positions_at_once(m.model().head_weight().size()[0]);
            let (nll, rest) = decide::loss(m, &rows, &learnt.0, counts, c, at_once);
            return (distill::Sums { nll, divergence: 0.0 }, rest);
        }
        let output = self.output(c.label_smoothing);
        let at_once = positions_at_once(output.weight.size()[0]);
        distill::chunked(&learnt.0, output, teacher, &learnt.1, 1.0 / counts.learnt, at_once)
    }

    /// States `[N, D]` of the places that are learnt, and what is right there `[N]`: tokens, or the class of each row. Of a decoder that classifies, states of
    /// all tokens. `train` switches dropout on.
    pub fn states(&self, demos: &[Demo], sequences: &[&Vec<usize>], train: bool) -> (Tensor, Tensor) {
        let rows = || sequences.iter().flat_map(|rows| rows.iter()).map(|&i| &demos[i]);
        match self {
            Network::Decoder(m) => {
                let batch = Batch::new(demos, sequences, m.device());
                (m.forward_at(&batch.inputs, &batch.segments, &batch.labelled, train), batch.targets)
            }
            Network::Captioner(m) => captions::states(m, &rows().collect::<Vec<_>>(), train),
            Network::Translator(m) => {
                let config = m.config();
                let sources: Vec<&[u32]> = rows().map(Demo::prompt_ids).collect();
                let targets: Vec<&[u32]> = rows().map(|demo| &demo.ids[demo.prompt_ids().len()..]).collect();
                let fed: Vec<Vec<u32>> = targets.iter().map(|t| [&[config.start], &t[..t.len() - 1]].concat()).collect();
                let fed = PaddedRows::new(&fed.iter().map(Vec::as_slice).collect::<Vec<_>>(), config.pad, m.device());
                let time = fed.shape().1;
                let places = targets.iter().enumerate().flat_map(|(b, t)| (0..t.len() as i64).map(move |i| b as i64 * time + i));
                let memory = m.encode(&PaddedRows::new(&sources, config.pad, m.device()), train);
                let states = m.decode(&fed.ids, &memory, train).index_select(0, &ids(places, m.device()));
                (states, ids(targets.iter().flat_map(|t| t.iter()).map(|&id| i64::from(id)), m.device()))
            }
            Network::Classifier(m) => {
                let texts: Vec<&[u32]> = rows().map(|demo| demo.ids.as_slice()).collect();
                let names = m.classes().unwrap_or_default();
                let class = |demo: &Demo| names.iter().position(|name| *name == demo.response).expect("checked when rows were read");
                (classified(m, &texts, train), ids(rows().map(|demo| class(demo) as i64), m.device()))
            }
            Network::Decides(m) => {
                let rows: Vec<&Demo> = rows().collect();
                (m.states(&decide::rows(m, &rows), train), decide::targets(m, &rows))
            }
        }
    }

    /// Logits of states, in float32.
    pub fn logits(&self, states: &Tensor) -> Tensor {
        match self {
            Network::Decoder(m) => m.logits(states),
            Network::Captioner(m) => m.decoder().logits(states),
            Network::Translator(m) => m.logits(states),
            Network::Classifier(m) => m.logits(states),
            Network::Decides(m) => m.model().logits(states),
        }
    }

    /// The ids of a prompt.
    pub fn prompt(&self, tokenizer: &Tokenizer, template: Option<&ChatTemplate>, text: &str) -> Result<Vec<u32>> {
        Ok(match (self, template) {
            (Network::Decoder(_) | Network::Captioner(_), Some(template)) => template.encode_prompt(tokenizer, text)?,
            (Network::Classifier(_), _) => framed_ids(tokenizer, text, None)?,
            (Network::Decides(m), _) => m.frame().expect("set-up asks for one").ids(tokenizer, text, None, &[])?,
            _ => source_ids(tokenizer, text)?,
        })
    }

    /// Tokens that an answer to this prompt has at most, whatever is asked for: what prompt and picture leave of a decoder's context, all of an encoder-decoder's.
    pub fn room(&self, prompt: &[u32]) -> usize {
        let taken = match self {
            Network::Decoder(_) => prompt.len(),
            Network::Captioner(m) => m.places() + prompt.len(),
            Network::Translator(_) | Network::Classifier(_) | Network::Decides(_) => 0,
        };
        self.context().saturating_sub(taken)
    }

    /// What `write` makes of the prompts with these numbers and so many new tokens at most: prompts that leave equal room go together.
    fn within_room(
        &self,
        prompts: &[Vec<u32>],
        max_new: usize,
        mut write: impl FnMut(&[usize], usize) -> Result<Vec<Vec<u32>>, ModelError>,
    ) -> Result<Vec<Vec<u32>>, ModelError> {
        let mut alike: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, prompt) in prompts.iter().enumerate() {
            alike.entry(max_new.min(self.room(prompt))).or_default().push(i);
        }
        let mut written = vec![vec![]; prompts.len()];
        for (max_new, numbers) in alike {
            for (&i, ids) in numbers.iter().zip(write(&numbers, max_new)?) {
                written[i] = ids;
            }
        }
        Ok(written)
    }

    /// [`Network::answers`] to prompts about the pictures of these rows, where the network sees pictures; where it does not, these do not matter.
    pub fn answers_about(
        &self,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        prompts: &[Vec<u32>],
        rows: &[&Demo],
        how: Writing,
    ) -> Result<Vec<String>> {
        let Network::Captioner(m) = self else { return self.answers(tokenizer, template, prompts, how) };
        let written = self.within_room(prompts, how.max_new, |numbers, max_new| {
            let pictures: Vec<&Picture> = numbers.iter().map(|&i| captions::picture(rows[i])).collect();
            let prompts: Vec<Vec<u32>> = numbers.iter().map(|&i| prompts[i].clone()).collect();
            let written = m.generate(&pictures, &prompts, &greedy(tokenizer, template, max_new))?;
            Ok(written.into_iter().map(|g| g.ids).collect())
        })?;
        texts(tokenizer, &written)
    }

    /// Likeliest answers to prompts: a decoder's are greedy, a classifier's are names of classes.
    pub fn answers(
        &self,
        tokenizer: &Tokenizer,
        template: Option<&ChatTemplate>,
        prompts: &[Vec<u32>],
        how: Writing,
    ) -> Result<Vec<String>> {
        match self {
            Network::Decoder(m) => {
                let written = self.within_room(prompts, how.max_new, |numbers, max_new| {
                    let prompts: Vec<Vec<u32>> = numbers.iter().map(|&i| prompts[i].clone()).collect();
                    let written = model::generate(m, &prompts, &greedy(tokenizer, template, max_new))?;
                    Ok(written.into_iter().map(|g| g.ids).collect())
                })?;
                texts(tokenizer, &written)
            }
            Network::Captioner(_) => bail!("answers about pictures need the pictures"),
            Network::Translator(m) => {
                let search = BeamSearch { beams: how.beams, max_new: how.max_new, ..BeamSearch::default() };
                let best: Vec<Vec<u32>> = beam::search(m, prompts, &search)?.into_iter().map(|mut best| best.remove(0).ids).collect();
                texts(tokenizer, &best)
            }
            Network::Classifier(m) => {
                let names = m.classes().unwrap_or_default();
                let mut out = Vec::with_capacity(prompts.len());
                for rows in prompts.chunks(64) {
                    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
                    let best: Vec<i64> =
                        Vec::try_from(tch::no_grad(|| m.logits(&classified(m, &rows, false)).argmax(-1, false).to_device(Device::Cpu)))?;
                    out.extend(best.into_iter().map(|class| names[class as usize].clone()));
                }
                Ok(out)
            }
            Network::Decides(m) => decide::answers(m, prompts),
        }
    }

    /// Refuses rows of a class that the network does not have.
    pub fn check_classes(&self, demos: &[Demo]) -> Result<()> {
        let names = match self {
            Network::Classifier(m) => m.classes().unwrap_or_default(),
            Network::Decides(m) if !m.classes().is_empty() => m.classes(),
            _ => return Ok(()),
        };
        let strange = demos.iter().find(|demo| !names.contains(&demo.response));
        ensure!(strange.is_none(), "class {:?} is held out and not learnt: classes are {names:?}", strange.map(|d| d.response.as_str()));
        Ok(())
    }
}

/// The likeliest continuation, up to the end of an answer.
fn greedy(tokenizer: &Tokenizer, template: Option<&ChatTemplate>, max_new: usize) -> Sampling {
    let stop = template.map(|t| t.stop_ids(tokenizer)).unwrap_or_default();
    Sampling { max_new, temperature: 0.0, stop, batch: 32, ..Sampling::default() }
}

fn texts(tokenizer: &Tokenizer, answers: &[Vec<u32>]) -> Result<Vec<String>> {
    answers.iter().map(|ids| Ok(tokenizer.decode(ids, true)?.trim().to_string())).collect()
}

/// What the classifier's last map reads, `[B, D]`.
fn classified(m: &Bert, rows: &[&[u32]], train: bool) -> Tensor {
    let rows = PaddedRows::new(rows, m.config().pad, m.device());
    let states = m.forward(&rows, Some(&rows.second_text()), train);
    m.read(&states, &rows, None, train)
}

fn ids(values: impl Iterator<Item = i64>, device: Device) -> Tensor {
    Tensor::from_slice(&values.collect::<Vec<_>>()).to_device(device)
}

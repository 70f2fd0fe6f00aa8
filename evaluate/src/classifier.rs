//! A network that classifies rows, whichever it is: an encoder of classes, or a decoder of classes, numbers and choices.

use crate::cli::ModelArgs;
use crate::exit::input;
use crate::open::{device, need_tokenizer};
use data::config::Target;
use data::demos::framed_ids;
use data::tokenizer::Tokenizer;
use model::bert::BertHead;
use model::{Bert, Classifier, PaddedRows};
use tch::{Device, Kind};

/// Rows at a time.
const BATCH: usize = 64;

/// A text, and what else its shape asks for.
#[derive(Debug, Default)]
pub struct Asked {
    /// The text.
    pub text: String,
    /// A second one, of pairs.
    pub second: Option<String>,
    /// Choices, of which one is right.
    pub choices: Vec<String>,
    /// What is right, where it is known.
    pub right: Option<String>,
}

/// A row as the network reads it.
#[derive(Debug)]
pub struct Prepared {
    /// The row.
    pub asked: Asked,
    /// What is right as this network says it, where it is known: of a choice its number.
    pub label: Option<String>,
    ids: Vec<u32>,
}

#[allow(clippy::large_enum_variant)] // there is one of it
enum Network {
    Encoder(Bert),
    Decoder(Classifier),
}

/// A network with its tokenizer.
pub struct Reader {
    network: Network,
    tokenizer: Tokenizer,
}

/// What a network says of a row.
#[derive(Debug)]
pub enum Said {
    /// A number.
    Number(f64),
    /// Probabilities of the classes, or of the row's choices.
    Shares(Vec<f64>),
}

impl Reader {
    /// Opens a model folder.
    pub fn open(args: &ModelArgs) -> anyhow::Result<Reader> {
        let folder = model::resolve(&args.model)?;
        let no = || input(format!("{}: no classifier: name one that `sft` made with objective = \"classify\"", folder.display()));
        let device = device(args)?;
        let network = match model::kind_of(&folder)? {
            model::Kind::Encoder => match Bert::declared_head(&folder)? {
                BertHead::Classes(_) => Network::Encoder(Bert::load(&folder, device)?),
                BertHead::Masked => return Err(no()),
            },
            model::Kind::Decoder => Network::Decoder(Classifier::load(&folder, device).map_err(|e| input(e.to_string()))?),
            model::Kind::EncoderDecoder => return Err(no()),
        };
        Ok(Reader { network, tokenizer: need_tokenizer(&folder, "classify")? })
    }

    /// Names of the classes; none where numbers or choices are asked for.
    pub fn classes(&self) -> &[String] {
        match &self.network {
            Network::Encoder(m) => m.classes().unwrap_or_default(),
            Network::Decoder(m) => m.classes(),
        }
    }

    /// Whether numbers are predicted.
    pub fn numbers(&self) -> bool {
        matches!(&self.network, Network::Decoder(m) if m.target() == Target::Number)
    }

    /// The row `number`, counted from 1, tokenised, with its label; what it lacks is an error.
    pub fn prepare(&self, asked: Asked, number: usize) -> anyhow::Result<Prepared> {
        let label = self.label(&asked).map_err(|why| input(format!("row {number}: {why}")))?;
        let ids = self.ids(&asked)?;
        Ok(Prepared { asked, label, ids })
    }

    /// What is right as this network says it; the error tells what the row lacks.
    fn label(&self, row: &Asked) -> Result<Option<String>, String> {
        let Network::Decoder(m) = &self.network else { return Ok(row.right.clone()) };
        let Some(frame) = m.frame() else { return Ok(row.right.clone()) };
        frame.check(row.second.as_deref(), &row.choices)?;
        row.right.as_ref().map(|right| frame.label(right, &row.choices)).transpose()
    }

    fn ids(&self, row: &Asked) -> anyhow::Result<Vec<u32>> {
        let second = row.second.as_deref();
        Ok(match &self.network {
            Network::Encoder(_) => framed_ids(&self.tokenizer, &row.text, second)?,
            Network::Decoder(m) => match (m.frame(), second) {
                (Some(frame), _) => frame.ids(&self.tokenizer, &row.text, second, &row.choices)?,
                (None, None) => [self.tokenizer.beginning()?, self.tokenizer.encode(&row.text)?].concat(),
                (None, Some(_)) => return Err(input("the folder does not say how pairs become a sequence: this project's own do")),
            },
        })
    }

    /// Whether the row's longest sequence fits the network's context.
    pub fn fits(&self, row: &Prepared) -> bool {
        match &self.network {
            Network::Encoder(m) => row.ids.len() <= m.config().context,
            Network::Decoder(m) => {
                let end = m.frame().map(|frame| frame.extract);
                let longest = row.ids.split_inclusive(|id| Some(*id) == end).map(<[u32]>::len).max().unwrap_or(0);
                longest <= m.model().config().context
            }
        }
    }

    /// What the network says of each row.
    pub fn ask(&self, rows: &[Prepared]) -> anyhow::Result<Vec<Said>> {
        let mut said = Vec::with_capacity(rows.len());
        for rows in rows.chunks(BATCH) {
            let ids: Vec<&[u32]> = rows.iter().map(|row| row.ids.as_slice()).collect();
            let outputs = tch::no_grad(|| self.outputs(&ids))?; // [B, L]
            if self.numbers() {
                let found: Vec<f64> = Vec::try_from(outputs.squeeze_dim(-1).to_kind(Kind::Double).to_device(Device::Cpu))?;
                said.extend(found.into_iter().map(Said::Number));
                continue;
            }
            let found: Vec<Vec<f64>> = Vec::try_from(outputs.softmax(-1, Kind::Double).to_device(Device::Cpu))?;
            let own = |row: &Prepared| if self.classes().is_empty() { row.asked.choices.len() } else { self.classes().len() };
            said.extend(found.into_iter().zip(rows).map(|(shares, row)| Said::Shares(shares[..own(row)].to_vec())));
        }
        Ok(said)
    }

    fn outputs(&self, ids: &[&[u32]]) -> anyhow::Result<tch::Tensor> {
        match &self.network {
            Network::Encoder(m) => {
                m.check_ids(ids)?;
                let padded = PaddedRows::new(ids, m.config().pad, m.device());
                let states = m.forward(&padded, Some(&padded.second_text()), false);
                Ok(m.logits(&m.read(&states, &padded, None, false)))
            }
            Network::Decoder(m) => {
                let rows = m.rows(ids)?;
                Ok(m.outputs(&m.states(&rows, false), &rows, false))
            }
        }
    }
}

//! Reading a checkpoint of llama2.c (github.com/karpathy/llama2.c, `run.c`, version 0: seven int32 and then float32 tensors) as a Llama model folder.
//!
//! Letters of the shapes: L layers, D width, F features inside the MLP, H heads, K key-value heads, C features of a head, V vocabulary, T context.

use crate::error::ModelError;
use crate::files;
use crate::model::Parameter;
use serde_json::json;
use std::path::Path;
use tch::{Kind, Tensor};

/// Bytes of the header.
const HEADER: usize = 28;
/// SentencePiece's `<s>`, which begins a text. llama2.c's models were trained on texts end to end, so that it also ends one (`run.c` stops at it).
const BOS: u32 = 1;
/// What ends a text: `<s>`, and `</s>` for models that were tuned with it.
const EOS: [u32; 2] = [1, 2];

/// Writes the checkpoint `bin` as `folder`/config.json, generation_config.json and model.safetensors; returns the vocabulary's size. Query and key rows are put in
/// another order: llama2.c rotates neighbouring features of a head, transformers features half a head apart.
pub fn convert(bin: &Path, folder: &Path) -> Result<usize, ModelError> {
    let bytes = std::fs::read(bin).map_err(ModelError::io(bin))?;
    let mut reader = Reader::new(bin, &bytes)?;
    let s = reader.shape;
    let (layers, width, ffn) = (s.layers, s.width, s.ffn);
    let (head, kv_width) = (width / s.heads, width / s.heads * s.kv_heads);
    let mut parameters = Vec::new();
    let mut put = |name: String, tensor: Tensor| {
        let decay = tensor.dim() > 1;
        parameters.push(Parameter { name, tensor, decay, unit: 0 });
    };
    put("model.embed_tokens.weight".into(), reader.take(&[s.vocabulary, width])?);
    let block = |layer: i64, name: &str| format!("model.layers.{layer}.{name}.weight");
    let stacked: [(&str, &[i64], i64); 9] = [
        ("input_layernorm", &[width], 0),
        ("self_attn.q_proj", &[width, width], s.heads),
        ("self_attn.k_proj", &[kv_width, width], s.kv_heads),
        ("self_attn.v_proj", &[kv_width, width], 0),
        ("self_attn.o_proj", &[width, width], 0),
        ("post_attention_layernorm", &[width], 0),
        ("mlp.gate_proj", &[ffn, width], 0),
        ("mlp.down_proj", &[width, ffn], 0),
        ("mlp.up_proj", &[ffn, width], 0),
    ];
    for (name, shape, rotated) in stacked {
        for layer in 0..layers {
            let tensor = reader.take(shape)?;
            put(block(layer, name), if rotated > 0 { half_apart(&tensor, rotated, head) } else { tensor });
        }
    }
    put("model.norm.weight".into(), reader.take(&[width])?);
    let _ = reader.take(&[s.context, head])?; // cosines and sines, which follow from the shape
    if !s.tied {
        put("lm_head.weight".into(), reader.take(&[s.vocabulary, width])?);
    }
    reader.finish()?;
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": s.vocabulary, "max_position_embeddings": s.context,
        "hidden_size": width, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads, "head_dim": head, "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_parameters": { "rope_type": "default", "rope_theta": 10000.0 }, "attention_bias": false, "mlp_bias": false,
        "tie_word_embeddings": s.tied, "bos_token_id": BOS, "eos_token_id": EOS, "dtype": "float32",
    });
    let tokens = json!({ "bos_token_id": BOS, "eos_token_id": EOS });
    files::write_json(&folder.join("config.json"), &config)?;
    files::write_json(&folder.join("generation_config.json"), &tokens)?;
    files::write_parameters(folder, &parameters)?;
    Ok(s.vocabulary as usize)
}

/// Rows `[heads·C, D]`, of which neighbours are rotated together, so that those C/2 apart are.
fn half_apart(rows: &Tensor, heads: i64, head: i64) -> Tensor {
    let width = rows.size()[1];
    rows.view([heads, head / 2, 2, width]).transpose(1, 2).reshape([heads * head, width])
}

/// The header.
#[derive(Debug, Clone, Copy)]
struct Shape {
    width: i64,
    ffn: i64,
    layers: i64,
    heads: i64,
    kv_heads: i64,
    vocabulary: i64,
    context: i64,
    tied: bool,
}

struct Reader<'a> {
    path: &'a Path,
    rest: &'a [u8],
    shape: Shape,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, bytes: &'a [u8]) -> Result<Reader<'a>, ModelError> {
        let wrong = |what: &str| ModelError::Input(format!("{}: no llama2.c checkpoint of version 0: {what}", path.display()));
        let header = bytes.get(..HEADER).ok_or_else(|| wrong("shorter than its header of seven numbers"))?;
        let n: Vec<i64> = header.chunks_exact(4).map(|c| i64::from(i32::from_le_bytes([c[0], c[1], c[2], c[3]]))).collect();
        let shape = Shape {
            width: n[0],
            ffn: n[1],
            layers: n[2],
            heads: n[3],
            kv_heads: n[4],
            vocabulary: n[5].abs(),
            context: n[6],
            tied: n[5] > 0,
        };
        let sane = n.iter().all(|&x| x != 0 && x.abs() < 1 << 24) && n[..5].iter().all(|&x| x > 0) && n[6] > 0;
        if !sane || n[0] % n[3] != 0 || n[3] % n[4] != 0 || (n[0] / n[3]) % 2 != 0 {
            return Err(wrong(&format!(
                "its first numbers are {n:?} (wanted: width, MLP width, layers, heads, key-value heads, vocabulary, context)"
            )));
        }
        Ok(Reader { path, rest: &bytes[HEADER..], shape })
    }

    fn take(&mut self, shape: &[i64]) -> Result<Tensor, ModelError> {
        let size = shape.iter().try_fold(4usize, |product, &n| product.checked_mul(n as usize)).unwrap_or(usize::MAX);
        if self.rest.len() < size {
            return Err(ModelError::Input(format!(
                "{}: ends inside a tensor of shape {shape:?}: is the download whole?",
                self.path.display()
            )));
        }
        let (now, later) = self.rest.split_at(size);
        self.rest = later;
        Ok(Tensor::f_from_data_size(now, shape, Kind::Float)?)
    }

    fn finish(&self) -> Result<(), ModelError> {
        match self.rest.len() {
            0 => Ok(()),
            n => Err(ModelError::Input(format!(
                "{}: {n} bytes more than the header says: another version of the format?",
                self.path.display()
            ))),
        }
    }
}

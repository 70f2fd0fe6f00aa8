//! The keys a configuration knows, read off its JSON schema: for unknown-key errors, `--help` and `docs/config.md`.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

/// One key with what the reference says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Dotted path.
    pub path: String,
    /// `integer`, `number`, `string`, `boolean`, a list of them, or the allowed words.
    pub kind: String,
    /// Default as JSON; absent for keys inside list entries that have none.
    pub default: Option<Value>,
    /// The field's doc comment.
    pub doc: String,
    /// True for a section (a table or a list of tables).
    pub section: bool,
}

/// All keys of one configuration, in the order of the struct.
#[derive(Debug, Clone)]
pub struct KeyTree {
    /// What the struct itself says.
    pub doc: String,
    /// The keys, sections included, depth first.
    pub keys: Vec<Key>,
}

/// The keys of `T`.
pub fn tree<T: JsonSchema>() -> KeyTree {
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let root = schema.as_value();
    let mut keys = Vec::new();
    walk(root, "", None, &mut keys);
    KeyTree { doc: text(root, "description"), keys }
}

impl KeyTree {
    /// Is this dotted path (without list indices) a key or a section?
    pub fn knows(&self, path: &str) -> bool {
        self.keys.iter().any(|k| k.path == path)
    }

    /// The known key that looks most like `path`, if any is near enough to be meant.
    pub fn nearest(&self, path: &str) -> Option<String> {
        let last = |p: &str| p.rsplit('.').next().unwrap_or(p).to_string();
        self.keys
            .iter()
            .filter(|k| !k.section)
            .map(|k| {
                let whole = strsim::jaro_winkler(&k.path, path);
                let tail = strsim::jaro_winkler(&last(&k.path), &last(path));
                (0.5 * whole + 0.5 * tail, k)
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(score, _)| *score > 0.75)
            .map(|(_, k)| k.path.clone())
    }

    /// Is this section a list of tables?
    pub(super) fn is_list(&self, path: &str) -> bool {
        self.keys.iter().any(|k| k.path == path && k.kind == "list of tables")
    }

    /// Does this key hold a number with a fraction (so that `1` may stand for `1.0`)?
    pub(super) fn is_float(&self, path: &str) -> bool {
        self.keys.iter().any(|k| k.path == path && k.kind == "number")
    }
}

fn text(schema: &Value, field: &str) -> String {
    schema.get(field).and_then(Value::as_str).unwrap_or_default().replace('\n', " ")
}

/// Follows the single alternative of an optional or referenced type.
fn inner(schema: &Value) -> &Value {
    for list in ["anyOf", "oneOf"] {
        if let Some(items) = schema.get(list).and_then(Value::as_array) {
            let real: Vec<&Value> = items.iter().filter(|s| s.get("type") != Some(&Value::from("null"))).collect();
            if real.len() == 1 {
                return inner(real[0]);
            }
        }
    }
    schema
}

fn walk(schema: &Value, prefix: &str, defaults: Option<&Value>, out: &mut Vec<Key>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let default = property.get("default").or_else(|| defaults.and_then(|d| d.get(name)));
        let shape = inner(property);
        let items = shape.get("items").map(inner);
        let table = if shape.get("properties").is_some() { Some(shape) } else { items.filter(|i| i.get("properties").is_some()) };
        out.push(Key {
            path: path.clone(),
            kind: if items.is_some() && table.is_some() { "list of tables".into() } else { kind(shape) },
            default: default.cloned(),
            doc: text(property, "description"),
            section: table.is_some(),
        });
        if let Some(table) = table {
            let inherited = if items.is_none() { default } else { table.get("default") };
            walk(table, &path, inherited, out);
        }
    }
}

fn kind(schema: &Value) -> String {
    let words = |list: &[Value]| -> Vec<String> {
        list.iter().filter_map(|v| v.get("const").unwrap_or(v).as_str().map(|s| format!("`{s}`"))).collect()
    };
    if let Some(list) = schema.get("enum").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let words = words(list);
        if !words.is_empty() {
            return words.join(", ");
        }
    }
    match schema.get("type") {
        Some(Value::String(t)) if t == "array" => format!("list of {}", kind(schema.get("items").map(inner).unwrap_or(&Value::Null))),
        Some(Value::String(t)) if t == "object" => "section".into(),
        Some(Value::String(t)) => t.clone(),
        Some(Value::Array(ts)) => ts.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or("any").to_string(),
        _ => "any".into(),
    }
}

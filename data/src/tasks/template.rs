//! Jinja over a row's fields, as lm-evaluation-harness renders it: undefined names are errors and no line end is trimmed.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value as JinjaValue};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::{Map, Value};

const NAME: &str = "task";

/// A compiled template.
pub(super) struct Template(Environment<'static>);

impl Template {
    /// Compiles, or says in words why not.
    pub fn new(source: &str) -> Result<Template, String> {
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.keep_trailing_newline(true);
        environment.set_syntax(syntax.build().map_err(|e| e.to_string())?);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.add_template_owned(NAME, source.to_owned()).map_err(|e| e.to_string())?;
        Ok(Template(environment))
    }

    /// The text for a row.
    pub fn render(&self, row: &Map<String, Value>) -> Result<String, String> {
        let template = self.0.get_template(NAME).map_err(|e| e.to_string())?;
        let fields = row.iter().map(|(key, value)| (key.as_str(), JinjaValue::from(Serde(value))));
        template.render(JinjaValue::from_pairs(fields)).map_err(|e| e.to_string())
    }
}

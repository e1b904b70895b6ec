//! Texts with variables in them: `https://{{ host }}/`.

use std::collections::BTreeMap;
use std::fmt;

/// A text whose variables are not filled in yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(String),
}

impl Template {
    /// Reads a text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((variable, after)) = after.split_once("}}") else {
                return Err("has `{{` without `}}`".to_owned());
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Variable(variable.trim().to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The variables that it names.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text without any variable, where that is all there is.
    pub fn literal(&self) -> Option<String> {
        let constant = self.variables().next().is_none();
        constant.then(|| self.fill(&BTreeMap::new()))
    }

    /// The text with the values of its variables; one that has none is left out.
    pub fn fill(&self, values: &BTreeMap<String, String>) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(name) => values.get(name).cloned().unwrap_or_default(),
        };
        self.0.iter().map(part).collect()
    }
}

impl fmt::Display for Template {
    /// As it is written, without any value: those may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "{{{{ {name} }}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_and_filled_in() {
        let template = Template::parse("https://{{ host }}:{{port}}/").expect("a template");
        assert_eq!(template.variables().collect::<Vec<_>>(), ["host", "port"]);
        assert_eq!(template.literal(), None);
        assert_eq!(template.to_string(), "https://{{ host }}:{{ port }}/");
        let values = [("host", "one.test"), ("port", "81")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(template.fill(&BTreeMap::from(values)), "https://one.test:81/");
    }

    #[test]
    fn a_text_without_variables_stays_as_it_is() {
        for text in ["", "plain", "{ one } }} two"] {
            let template = Template::parse(text).expect("a template");
            assert_eq!(template.literal().as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_opened_must_be_closed() {
        let error = Template::parse("{{ one }} {{ two").expect_err("no template");
        assert!(error.contains("`{{` without `}}`"), "{error}");
    }
}

//! The part of the dashboards' query language that our dashboards use: `field: value`, `(a or b)`, and, or, not, `*` at the end.
//! Panics on anything else; never guesses.

use serde_json::Value;

/// A query.
#[derive(Debug)]
pub enum Query {
    /// Everything.
    All,
    /// A field has one of these values; one that ends in `*` stands for all that begin so.
    Field(String, Vec<String>),
    And(Vec<Query>),
    Or(Vec<Query>),
    Not(Box<Query>),
}

impl Query {
    pub fn parse(text: &str) -> Self {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        if parser.tokens.is_empty() {
            return Self::All;
        }
        let query = parser.any();
        assert_eq!(parser.at, parser.tokens.len(), "{text}: something is left over");
        query
    }

    /// Whether a document fits it.
    pub fn fits(&self, document: &Value) -> bool {
        match self {
            Self::All => true,
            Self::Field(name, wanted) => {
                let found = values(document, name);
                wanted.iter().any(|wanted| match wanted.strip_suffix('*') {
                    Some(start) => found.iter().any(|value| value.starts_with(start)),
                    None => found.contains(wanted),
                })
            }
            Self::And(parts) => parts.iter().all(|part| part.fits(document)),
            Self::Or(parts) => parts.iter().any(|part| part.fits(document)),
            Self::Not(part) => !part.fits(document),
        }
    }

    /// Each field with each value that it asks for.
    pub fn words(&self) -> Vec<(&str, &str)> {
        match self {
            Self::All => Vec::new(),
            Self::Field(name, values) => values.iter().map(|value| (name.as_str(), value.as_str())).collect(),
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::words).collect(),
            Self::Not(part) => part.words(),
        }
    }
}

/// The values of a field: several where it is a list.
pub fn values(document: &Value, name: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match name.split('.').try_fold(document, |value, key| value.get(key)) {
        Some(Value::Array(items)) => items.iter().map(text).collect(),
        Some(value) => vec![text(value)],
        None => Vec::new(),
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut spaced = String::new();
    for character in text.chars() {
        assert!(!"\"\\<>{}".contains(character), "{text}: {character} is not understood");
        if "():".contains(character) {
            spaced.extend([' ', character, ' ']);
        } else {
            spaced.push(character);
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
}

impl Parser {
    fn take(&mut self, token: &str) -> bool {
        let is_next = self.tokens.get(self.at).is_some_and(|next| next == token);
        self.at += usize::from(is_next);
        is_next
    }

    fn word(&mut self) -> String {
        let word = self.tokens.get(self.at).expect("the query ends too early").clone();
        assert!(!["(", ")", ":", "and", "or", "not"].contains(&word.as_str()), "{word} where a word should be");
        self.at += 1;
        word
    }

    fn any(&mut self) -> Query {
        let mut parts = vec![self.all()];
        while self.take("or") {
            parts.push(self.all());
        }
        if parts.len() == 1 { parts.remove(0) } else { Query::Or(parts) }
    }

    fn all(&mut self) -> Query {
        let mut parts = vec![self.one()];
        while self.take("and") {
            parts.push(self.one());
        }
        if parts.len() == 1 { parts.remove(0) } else { Query::And(parts) }
    }

    fn one(&mut self) -> Query {
        if self.take("not") {
            return Query::Not(Box::new(self.one()));
        }
        if self.take("(") {
            let query = self.any();
            assert!(self.take(")"), "a bracket is not closed");
            return query;
        }
        let name = self.word();
        assert!(self.take(":"), "no colon after {name}");
        let mut values = Vec::new();
        if self.take("(") {
            values.push(self.word());
            while self.take("or") {
                values.push(self.word());
            }
            assert!(self.take(")"), "a bracket is not closed");
        } else {
            values.push(self.word());
        }
        Query::Field(name, values)
    }
}

#[test]
fn queries_say_what_they_say() {
    let document = serde_json::json!({"a": {"b": "x1", "list": ["p", "q"]}, "n": 7});
    for (query, fits) in [
        ("", true),
        ("a.b: x1", true),
        ("a.b: x", false),
        ("a.b: x*", true),
        ("a.c: *", false),
        ("a.list: (r or q) and n: 7", true),
        ("a.b: y or not a.list: r", true),
        ("(a.b: x1 or n: 8) and a.list: r", false),
    ] {
        assert_eq!(Query::parse(query).fits(&document), fits, "{query}");
    }
}

//! What `check` finds: each thing that was looked at, how it is, and what to do about it. Decides nothing.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    /// It could not be seen.
    Unknown,
    /// Not wrong now, but it may become so.
    Warning,
    Error,
}

#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    level: Level,
    about: String,
    seen: String,
    /// Empty where there is nothing to do.
    fix: String,
}

#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    pub(crate) fn ok(&mut self, about: &str, seen: impl ToString) {
        self.add(Level::Ok, about, seen, "");
    }

    pub(crate) fn unknown(&mut self, about: &str, seen: impl ToString) {
        self.add(Level::Unknown, about, seen, "run check as root");
    }

    pub(crate) fn warn(&mut self, about: &str, seen: impl ToString, fix: impl ToString) {
        self.add(Level::Warning, about, seen, fix);
    }

    pub(crate) fn error(&mut self, about: &str, seen: impl ToString, fix: impl ToString) {
        self.add(Level::Error, about, seen, fix);
    }

    #[allow(clippy::needless_pass_by_value)]
    fn add(&mut self, level: Level, about: &str, seen: impl ToString, fix: impl ToString) {
        self.0.push(Finding { level, about: about.into(), seen: seen.to_string(), fix: fix.to_string() });
    }

    pub(crate) fn worst(&self) -> Level {
        self.0.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::json!({"worst": self.worst(), "findings": self.0})
    }

    pub(crate) fn text(&self) -> String {
        let line = |finding: &Finding| {
            let Finding { level, about, seen, fix } = finding;
            let level = format!("{level:?}").to_ascii_lowercase();
            let fix = if fix.is_empty() { String::new() } else { format!("\n         fix: {fix}") };
            format!("{level:<8} {about}: {seen}{fix}\n")
        };
        self.0.iter().map(line).collect()
    }
}

//! Our block in `ossec.conf`: text + block → edits, and back. Never changes a byte outside our markers but the `<disabled>` of
//! a block that is taken over, which `removal` gives back as it was, and a block of ours that has lost its markers, which
//! goes. Takes time in proportion to the text.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::wazuh::TAG;

use super::scan::{Comment, Document, Element, ScanError, scan};

/// What begins our part of the file.
pub const BEGIN: &str = "<!-- BEGIN wazuh-akamai -->";

/// What ends it.
pub const END: &str = "<!-- END wazuh-akamai -->";

/// What follows it.
const NOTE: &str = "<!-- Do not edit between these lines: uninstall takes all of it out. -->";

/// What the program of our wodle is called, whatever Wazuh's home.
const PROGRAM: &[u8] = b"/wodles/akamai/wazuh-akamai";

/// What begins the line, inside our part, that remembers a block taken over.
const TAKEN_OVER: &str = "<!-- wazuh-akamai disabled the wodle with command ";

/// Replaces what stands at `at` by `with`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    pub at: Range<usize>,
    pub with: Vec<u8>,
}

/// Why a file is left alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Wazuh itself would not take it.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Somebody has been at our markers.
    #[error("line {line}: {problem}: put the lines \"{BEGIN}\" and \"{END}\" around our block again, or remove both")]
    Markers { line: usize, problem: &'static str },
}

/// How our part is taken out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// None where there is nothing of ours.
    pub edits: Vec<Edit>,
    /// Wodles that were taken over and have been changed since, so that they stay as they are.
    pub not_given_back: usize,
}

/// The edits that put `block` (whole lines) at the end of the file, between our markers, and disable other wodles with our
/// tag. None where everything is as it should be.
pub fn installation(text: &[u8], block: &str) -> Result<Vec<Edit>, MergeError> {
    let conf = Conf::read(text)?;
    let mut edits = conf.without_markers();
    let mut now = Vec::new();
    for (wodle, element, command) in conf.others_with_ids() {
        if let Some((edit, was)) = conf.disabling(wodle, element) {
            edits.push(edit);
            now.push(Memory { command, was });
        }
    }
    let is_new: HashSet<&str> = now.iter().map(|memory| memory.command.as_str()).collect();
    let before = conf.remembered();
    let before = before.iter().filter(|memory| !is_new.contains(memory.command.as_str()));
    let mut part = format!("{BEGIN}\n{NOTE}\n");
    for memory in before.chain(&now) {
        part += &memory.line();
    }
    part += block;
    part += END;
    match conf.ours {
        Some(span) if text[span.clone()] == *part.as_bytes() => {}
        Some(span) => edits.push(Edit { at: span, with: part.into_bytes() }),
        None => {
            // A file without a final newline gets none: removal then leaves it as it was.
            let ended = text.is_empty() || text.ends_with(b"\n");
            let with = if ended { format!("{part}\n") } else { format!("\n{part}") };
            edits.push(Edit { at: text.len()..text.len(), with: with.into_bytes() });
        }
    }
    edits.sort_by_key(|edit| edit.at.start);
    Ok(edits)
}

/// The edits that take our part out again and give wodles that were taken over back.
pub fn removal(text: &[u8]) -> Result<Removal, MergeError> {
    let conf = Conf::read(text)?;
    let mut edits = conf.without_markers();
    let Some(span) = conf.ours.clone() else { return Ok(Removal { edits, not_given_back: 0 }) };
    let memories = conf.remembered();
    let mut not_given_back = memories.len();
    let memories: HashMap<String, Was> = memories.into_iter().map(|memory| (memory.command, memory.was)).collect();
    for (wodle, element, id) in conf.others_with_ids() {
        let edit = memories.get(&id).and_then(|was| conf.enabling(wodle, element, was));
        not_given_back -= usize::from(edit.is_some());
        edits.extend(edit);
    }
    let at = match (text.get(span.end), span.start.checked_sub(1)) {
        (Some(b'\n'), _) => span.start..span.end + 1,
        (None, Some(before)) if text[before] == b'\n' => before..span.end,
        _ => span,
    };
    edits.push(Edit { at, with: Vec::new() });
    edits.sort_by_key(|edit| edit.at.start);
    Ok(Removal { edits, not_given_back })
}

/// The text with its edits, which are in order. Two that are taken out may share a line end.
pub fn apply(text: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1_024);
    let mut done = 0;
    for edit in edits {
        out.extend_from_slice(&text[done..edit.at.start.max(done)]);
        out.extend_from_slice(&edit.with);
        done = edit.at.end.max(done);
    }
    out.extend_from_slice(&text[done..]);
    out
}

/// Lines of other wodles with our tag that run: whichever of them is not disabled fetches everything a second time.
pub fn others_that_run(text: &[u8]) -> Result<Vec<usize>, MergeError> {
    let conf = Conf::read(text)?;
    let running = conf.others().filter(|(wodle, _)| conf.document.value(*wodle, "disabled") != Some(b"yes"));
    let (mut line, mut at) = (1, 0);
    Ok(running
        .map(|(_, element)| {
            line += text[at..element.span.start].iter().filter(|byte| **byte == b'\n').count();
            at = element.span.start;
            line
        })
        .collect())
}

/// Our part of the file, markers included.
pub fn our_part(text: &[u8]) -> Result<Option<&[u8]>, MergeError> {
    Ok(Conf::read(text)?.ours.map(|span| &text[span]))
}

/// A file with the place of our part.
struct Conf<'a> {
    document: Document<'a>,
    /// From our first marker to behind our last one.
    ours: Option<Range<usize>>,
}

impl<'a> Conf<'a> {
    fn read(text: &'a [u8]) -> Result<Self, MergeError> {
        let document = scan(text)?;
        let ours = our_span(&document)?;
        Ok(Self { document, ours })
    }

    /// The command wodles outside our markers.
    fn wodles(&self) -> impl Iterator<Item = (usize, &Element)> {
        self.document.sections("wodle").filter(|(_, element)| {
            let first =
                element.attributes.first().map(|(name, value)| (self.document.at(name), self.document.at(value)));
            let ours = self.ours.as_ref();
            let is_ours = ours.is_some_and(|span| span.start <= element.span.start && element.span.end <= span.end);
            first == Some((b"name", b"command")) && !is_ours
        })
    }

    /// Those of them that run our program: ours all the same.
    fn runs_us(&self, wodle: usize) -> bool {
        let command = self.document.value(wodle, "command").unwrap_or_default().trim_ascii_start();
        command.split(u8::is_ascii_whitespace).next().is_some_and(|program| program.ends_with(PROGRAM))
    }

    /// Those of others with our tag.
    fn others(&self) -> impl Iterator<Item = (usize, &Element)> {
        self.wodles()
            .filter(|(wodle, _)| self.document.value(*wodle, "tag") == Some(TAG.as_bytes()) && !self.runs_us(*wodle))
    }

    /// The same, each with what tells it from the others: its command, and which of those with that command it is.
    fn others_with_ids(&self) -> Vec<(usize, &Element, String)> {
        let mut counts: HashMap<&[u8], usize> = HashMap::new();
        self.others()
            .map(|(wodle, element)| {
                let command = self.document.value(wodle, "command").unwrap_or_default();
                let count = counts.entry(command).or_default();
                let digest = Sha256::digest(command)[..6].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let id = format!("{digest}.{count}");
                *count += 1;
                (wodle, element, id)
            })
            .collect()
    }

    /// The edits that take out what is ours and stands outside our markers, with its own `<ossec_config>` if that holds
    /// nothing else, and with its line.
    fn without_markers(&self) -> Vec<Edit> {
        let text = self.document.text;
        let spans = self.wodles().filter(|(wodle, _)| self.runs_us(*wodle)).map(|(_, element)| {
            let root = element.parent.map(|parent| &self.document.elements[parent]);
            let is_alone = |root: &&Element| {
                let (before, behind) = (root.content.start..element.span.start, element.span.end..root.content.end);
                [before, behind].into_iter().all(|around| text[around].trim_ascii().is_empty())
            };
            root.filter(is_alone).unwrap_or(element).span.clone()
        });
        spans.map(|span| Edit { at: whole_lines(text, span), with: Vec::new() }).collect()
    }

    /// The edit that disables a wodle, and what stood there; none if it is disabled already.
    fn disabling(&self, wodle: usize, element: &Element) -> Option<(Edit, Was)> {
        if let Some((_, disabled)) = self.document.children(Some(wodle), "disabled").next_back() {
            let value = self.document.at(&disabled.content);
            // Content that could not be written into a comment and read again is not touched.
            let is_plain = value.iter().all(u8::is_ascii_alphanumeric);
            return (value != b"yes" && is_plain).then(|| {
                let was = Was::Value(String::from_utf8_lossy(value).into_owned());
                (Edit { at: disabled.content.clone(), with: b"yes".to_vec() }, was)
            });
        }
        let is_closed = element.content.is_empty() && self.document.at(&element.span).ends_with(b"/>");
        let at = element.content.start..element.content.start;
        (!is_closed).then(|| (Edit { at, with: INSERTED.into() }, Was::Absent))
    }

    /// The edit that undoes that; none if somebody has changed it since.
    fn enabling(&self, wodle: usize, element: &Element, was: &Was) -> Option<Edit> {
        let (at, expected, with) = match was {
            Was::Value(value) => {
                let (_, disabled) = self.document.children(Some(wodle), "disabled").next_back()?;
                (disabled.content.clone(), "yes", value.as_str())
            }
            Was::Absent => (element.content.start..element.content.start + INSERTED.len(), INSERTED, ""),
        };
        (self.document.text.get(at.clone()) == Some(expected.as_bytes())).then(|| Edit { at, with: with.into() })
    }

    /// The wodles that our part remembers to have taken over.
    fn remembered(&self) -> Vec<Memory> {
        let part = self.ours.as_ref().map_or(&[][..], |span| self.document.at(span));
        let text = String::from_utf8_lossy(part);
        let lines = text.lines().filter_map(|line| line.strip_prefix(TAKEN_OVER)?.strip_suffix(") -->"));
        lines
            .filter_map(|rest| {
                let (command, was) = rest.split_once(" (")?;
                let was = was.strip_prefix("it was ").map_or(Was::Absent, |value| Was::Value(value.to_owned()));
                Some(Memory { command: command.to_owned(), was })
            })
            .collect()
    }
}

fn our_span(document: &Document<'_>) -> Result<Option<Range<usize>>, MergeError> {
    let marks = |mark: &str| -> Vec<&Comment> {
        document.comments.iter().filter(|comment| document.at(&comment.span) == mark.as_bytes()).collect()
    };
    let wrong = |mark: &Comment, problem| Err(MergeError::Markers { line: document.line(mark.span.start), problem });
    match (&marks(BEGIN)[..], &marks(END)[..]) {
        ([], []) => Ok(None),
        ([begin], [end]) if begin.span.end <= end.span.start => {
            if begin.parent.is_some() || end.parent.is_some() {
                return wrong(begin, "our markers stand inside an element");
            }
            let (inside, whole) = (begin.span.end..end.span.start, begin.span.start..end.span.end);
            let crosses = |element: &Element| {
                element.parent.is_none()
                    && element.span.start < inside.end
                    && element.span.end > inside.start
                    && !(element.span.start >= inside.start && element.span.end <= inside.end)
            };
            if document.elements.iter().any(crosses) {
                return wrong(begin, "an element crosses one of our markers");
            }
            Ok(Some(whole))
        }
        ([begin], []) => wrong(begin, "our END marker is missing"),
        ([], [end]) => wrong(end, "our BEGIN marker is missing"),
        ([begin], [_]) => wrong(begin, "our markers stand in the wrong order"),
        ([_, second, ..], _) => wrong(second, "our BEGIN marker is there twice"),
        (_, [_, second, ..]) => wrong(second, "our END marker is there twice"),
    }
}

/// The span with the blanks before it and the end of its line, where nothing else stands there.
fn whole_lines(text: &[u8], span: Range<usize>) -> Range<usize> {
    let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r');
    let start = span.start - text[..span.start].iter().rev().take_while(is_blank).count();
    let end = span.end + text[span.end..].iter().take_while(is_blank).count();
    let begins_a_line = start == 0 || text[start - 1] == b'\n';
    if begins_a_line && text.get(end) == Some(&b'\n') { start..end + 1 } else { span }
}

/// What is put into a wodle that has no `<disabled>`.
const INSERTED: &str = "<disabled>yes</disabled>";

/// What stood where a wodle was disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Was {
    Absent,
    Value(String),
}

/// A wodle that was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Memory {
    /// What tells its command from others.
    command: String,
    was: Was,
}

impl Memory {
    fn line(&self) -> String {
        match &self.was {
            Was::Absent => format!("{TAKEN_OVER}{} (there was no disabled) -->\n", self.command),
            Was::Value(value) => format!("{TAKEN_OVER}{} (it was {value}) -->\n", self.command),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
